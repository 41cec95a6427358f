// dropout_forward: zeroes elements at random and scales the others.
//
// Shapes:    out, inp: n elements each, from element first of the whole tensor; rng (4).
// Work:      one invocation per 4 elements, 4 WG elements per workgroup.
// Numerics:  one f32 multiplication (and an addition with ADD); the mask is exact.
// Limits:    elements < 2^32; more than 65,535 workgroups fold into y.
// Reference: src/reference/dropout.rs.
//: import index rng
//: variant cpu WG=256u
const WG: u32 = 64u;      //: tune
const ADD: bool = false;  //: mode false true

struct Params { n: u32, first: u32, site: u32, threshold: u32, scale: f32 }
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@group(0) @binding(1) var<storage, read> inp: array<f32>;
@group(0) @binding(2) var<storage, read> rng: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    // each of the four times, neighbouring invocations access neighbouring elements
    let start = linear_group(group_id, num_groups) * WG * 4u + local_id;
    let key = dropout_key(params.site);
    for (var j = 0u; j < 4u; j++) { //: unroll
        let i = start + j * WG;
        if i < params.n {
            var value = dropout(key, params.first + i, params.threshold, params.scale, inp[i]);
            if ADD { value += out[i]; }
            out[i] = value;
        }
    }
}
