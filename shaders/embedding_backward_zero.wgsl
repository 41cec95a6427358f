// embedding_backward_zero: clears the gradient of a table, most of whose rows no token of a batch touches.
//
// Shapes:    out: n elements.
// Work:      one invocation per 4 elements, 4 WG elements per workgroup.
// Numerics:  zeros.
// Limits:    n < 2^32; more than 65,535 workgroups fold into y.
// Reference: src/reference/embedding.rs.
//: import index
//: variant cpu WG=256u
const WG: u32 = 64u;      //: tune

struct Params { n: u32 }
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@group(0) @binding(1) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let first = linear_group(group_id, num_groups) * WG * 4u + local_id;
    for (var j = 0u; j < 4u; j++) { //: unroll
        let i = first + j * WG;
        if i < params.n { out[i] = 0.0; }
    }
}
