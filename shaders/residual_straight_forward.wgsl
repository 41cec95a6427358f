// residual_straight_forward: the sum of two tensors in straight-line code, for Mesa's llvmpipe from 26 on.
//
// Shapes:    out, a, b: n elements each.
// Work:      one subgroup per ELEMS elements. All lanes have the same addresses, so that llvmpipe does the work of one.
// Numerics:  one f32 addition (two with ADD).
// Limits:    n is a multiple of the elements per workgroup; fewer than 65,536 workgroups.
// Reference: src/reference/residual.rs.
const SUBGROUP: u32 = 8u;          //: tune
const VECTOR_LOADS: bool = true;   //: tune
const GROUP: u32 = 8u;             //: tune
const ELEMS: u32 = 64u;            //: tune
const ADD: bool = false;           //: mode false true
const WG: u32 = SUBGROUP * GROUP;

struct Params { n: u32 }
@group(0) @binding(0) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(subgroup_id) subgroup: u32) {
    let last = params.n / 4u - ELEMS / 4u;
    let first = min((group_id.x * GROUP + subgroup) * (ELEMS / 4u), last);
    for (var j = 0u; j < 16u; j++) { //: unroll
        let i = first + j;
        var sum = a[i] + b[i];
        if ADD { sum += out[i]; }
        out[i] = sum;
    }
}
