// gelu_vec4_forward: GELU, tanh form, where the number of elements is a multiple of 4.
//
// Shapes:    out, inp: 4 n elements each.
// Work:      one invocation per 4 elements, 4 WG elements per workgroup.
// Numerics:  as gelu_forward, element for element.
// Limits:    n < 2^30; more than 65,535 workgroups fold into y.
// Reference: src/reference/gelu.rs.
//: import index gelu
//: variant cpu WG=256u
const WG: u32 = 64u;      //: tune

struct Params { n: u32 }
@group(0) @binding(0) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> inp: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let i = linear_group(group_id, num_groups) * WG + local_id;
    if i < params.n {
        out[i] = gelu(inp[i]);
    }
}
