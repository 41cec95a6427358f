// residual_forward: the sum of two tensors.
//
// Shapes:    out, a, b: n elements each.
// Work:      one invocation per 4 elements, ELEMS elements per workgroup.
// Numerics:  one f32 addition (two with ADD).
// Limits:    n < 2^32; more than 65,535 workgroups fold into y.
// Reference: src/reference/residual.rs.
//: import index
//: variant cpu WG=256u
const WG: u32 = 64u;      //: tune
const ADD: bool = false;  //: mode false true

struct Params { n: u32 }
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    // each of the four times, neighbouring invocations access neighbouring elements
    let first = linear_group(group_id, num_groups) * WG * 4u + local_id;
    for (var j = 0u; j < 4u; j++) { //: unroll
        let i = first + j * WG;
        if i < params.n {
            var sum = a[i] + b[i];
            if ADD { sum += out[i]; }
            out[i] = sum;
        }
    }
}
