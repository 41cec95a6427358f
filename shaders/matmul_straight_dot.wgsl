// matmul_straight_dot: A B' in straight-line code, for Mesa's llvmpipe from 26 on.
//
// Shapes:    a (M, K), b (N, K), out (M, N); rows may be padded. bias: N elements from bias_start on.
// Work:      one subgroup per 4 x 4 tile of out, GROUP of them in a workgroup. Each lane sums every eighth term of each
//            element; loads are vectors, as in matmul_straight.
// Numerics:  f32, eight sums of terms in the order of k, added in pairs; with BIAS and ADD one addition each at the
//            end.
// Limits:    K is TERMS, M and N multiples of 4, the number of tiles of GROUP; fewer than 65,536 workgroups; every
//            element index < 2^28.
// Reference: src/reference/matmul.rs.
//: import straight
//: variant one GROUP=1u
const SUBGROUP: u32 = 8u;          //: tune
const VECTOR_LOADS: bool = true;   //: tune
const GROUP: u32 = 8u;             //: tune
const TERMS: u32 = 128u;           //: tune
const ADD: bool = false;           //: mode false true
const BIAS: bool = false;          //: mode false true
const SIDE: u32 = 4u;
const WG: u32 = SUBGROUP * GROUP;

struct Params {
    m: u32,
    never: u32,
    a_start: u32,
    a_ld: u32,
    b_start: u32,
    b_ld: u32,
    out_start: u32,
    out_ld: u32,
    bias_start: u32,
}
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

fn a_vec(i: u32, lane: u32) -> f32 {
    return by_lane(lane, vec4<f32>(a[i], a[i + 1u], a[i + 2u], a[i + 3u]),
        vec4<f32>(a[i + 4u], a[i + 5u], a[i + 6u], a[i + 7u]));
}

fn b_vec(i: u32, lane: u32) -> f32 {
    return by_lane(lane, vec4<f32>(b[i], b[i + 1u], b[i + 2u], b[i + 3u]),
        vec4<f32>(b[i + 4u], b[i + 5u], b[i + 6u], b[i + 7u]));
}

// The sum over all lanes, the same in each.
fn total(value: f32, lane: u32) -> f32 {
    let four = value + subgroupShuffle(value, lane ^ 4u);
    let two = four + subgroupShuffle(four, lane ^ 2u);
    return subgroupShuffle(two, 0u) + subgroupShuffle(two, 1u);
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    // neighbours take tiles one below the other, so that B's rows stay in the cache
    let tiles_m = params.m / SIDE;
    let tile = group_id.x * GROUP + subgroup;
    let row0 = tile % tiles_m * SIDE;
    let col0 = tile / tiles_m * SIDE;
    var sums: array<f32, 16>;
    for (var q = 0u; q < 4u; q++) { //: unroll
        for (var t = 0u; t < 4u; t++) { //: unroll
            let k = (q * 4u + t) * SUBGROUP;
            var cols: array<f32, 4>;
            for (var c = 0u; c < 4u; c++) { //: unroll
                cols[c] = b_vec(((params.b_start + (col0 + c) * params.b_ld) & FAR) + k, lane);
            }
            for (var r = 0u; r < 4u; r++) { //: unroll
                let x = a_vec(((params.a_start + (row0 + r) * params.a_ld) & FAR) + k, lane);
                for (var c = 0u; c < 4u; c++) { //: unroll
                    sums[r * 4u + c] += x * cols[c];
                }
            }
        }
        // never true: see matmul_straight
        if params.never > 0u {
            for (var s = 0u; s < 16u; s++) { //: unroll
                sums[s] *= 2.0;
            }
        }
    }
    for (var r = 0u; r < 4u; r++) { //: unroll
        for (var c = 0u; c < 4u; c++) { //: unroll
            let i = ((params.out_start + (row0 + r) * params.out_ld + col0) & FAR) + c;
            var value = total(sums[r * 4u + c], lane);
            if BIAS { value += bias[((params.bias_start + col0) & FAR) + c]; }
            if ADD { value += out[i]; }
            out[i] = value;
        }
    }
}
