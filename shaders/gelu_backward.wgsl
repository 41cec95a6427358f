// gelu_backward: the gradient of GELU, any number of elements.
//
// Shapes:    dinp, dout, inp: n elements each.
// Work:      one invocation per 4 elements, 4 WG elements per workgroup.
// Numerics:  dout (s + x s' z'), s the sigmoid; s' = e / (1 + e)^2 doesn't cancel. One more addition with ADD.
// Limits:    n < 2^32; more than 65,535 workgroups fold into y.
// Reference: src/reference/gelu.rs.
//: import index gelu
//: variant cpu WG=256u
const WG: u32 = 64u;      //: tune
const ADD: bool = false;  //: mode false true

struct Params { n: u32 }
@group(0) @binding(0) var<storage, read_write> dinp: array<f32>;
@group(0) @binding(1) var<storage, read> dout: array<f32>;
@group(0) @binding(2) var<storage, read> inp: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let first = linear_group(group_id, num_groups) * WG * 4u + local_id;
    for (var j = 0u; j < 4u; j++) { //: unroll
        let i = first + j * WG;
        if i < params.n {
            var d = dout[i] * gelu_derivative(vec4<f32>(inp[i])).x;
            if ADD { d += dinp[i]; }
            dinp[i] = d;
        }
    }
}
