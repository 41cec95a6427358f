// matmul_straight: A B and A' B in straight-line code, for Mesa's llvmpipe from 26 on.
//
// Shapes:    a (M, K), or (K, M) with TRANS_A; b (K, N); out (M, N); rows may be padded. bias: N elements from
//            bias_start on.
// Work:      one subgroup per 4 x 32 tile of out, GROUP of them in a workgroup; each lane has a column of each of four
//            vectors. If all lanes have the same address, outside loops and conditions, llvmpipe loads a number once,
//            without a mask. Eight neighbouring elements that are selected by lane number become one vector load.
// Numerics:  f32, terms in the order of k; with BIAS and ADD one addition each at the end.
// Limits:    K is TERMS, M a multiple of 4, N of 32, the number of tiles of GROUP; fewer than 65,536 workgroups; every
//            element index < 2^28.
// Reference: src/reference/matmul.rs.
//: import straight
//: variant one GROUP=1u
const SUBGROUP: u32 = 8u;          //: tune
const VECTOR_LOADS: bool = true;   //: tune
const GROUP: u32 = 8u;             //: tune
const TERMS: u32 = 64u;            //: tune
const TRANS_A: bool = false;       //: mode false true
const ADD: bool = false;           //: mode false true
const BIAS: bool = false;          //: mode false true
const ROWS: u32 = 4u;
const VECS: u32 = 4u;
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

fn b_vec(index: u32, lane: u32) -> f32 {
    let i = index & FAR;
    return by_lane(lane, vec4<f32>(b[i], b[i + 1u], b[i + 2u], b[i + 3u]),
        vec4<f32>(b[i + 4u], b[i + 5u], b[i + 6u], b[i + 7u]));
}

fn bias_vec(index: u32, lane: u32) -> f32 {
    let i = index & FAR;
    return by_lane(lane, vec4<f32>(bias[i], bias[i + 1u], bias[i + 2u], bias[i + 3u]),
        vec4<f32>(bias[i + 4u], bias[i + 5u], bias[i + 6u], bias[i + 7u]));
}

fn out_vec(index: u32, lane: u32) -> f32 {
    let i = index & FAR;
    return by_lane(lane, vec4<f32>(out[i], out[i + 1u], out[i + 2u], out[i + 3u]),
        vec4<f32>(out[i + 4u], out[i + 5u], out[i + 6u], out[i + 7u]));
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    // neighbours take tiles one below the other, so that B's strip stays in the cache
    let tiles_m = params.m / ROWS;
    let tile = group_id.x * GROUP + subgroup;
    let row0 = tile % tiles_m * ROWS;
    let col0 = tile / tiles_m * (VECS * SUBGROUP);
    let b0 = params.b_start + col0;
    var sums: array<f32, 16>;
    for (var q = 0u; q < 8u; q++) { //: unroll
        for (var t = 0u; t < 8u; t++) { //: unroll
            let k = q * 8u + t;
            var cols: array<f32, 4>;
            for (var v = 0u; v < 4u; v++) { //: unroll
                cols[v] = b_vec(b0 + k * params.b_ld + v * SUBGROUP, lane);
            }
            for (var r = 0u; r < 4u; r++) { //: unroll
                var i = params.a_start;
                if TRANS_A { i += k * params.a_ld + row0; } else { i += (row0 + r) * params.a_ld; }
                let x = a[(i & FAR) + select(k, r, TRANS_A)];
                for (var v = 0u; v < 4u; v++) { //: unroll
                    sums[r * 4u + v] += x * cols[v];
                }
            }
        }
        // never true, but the compiler can't know: otherwise LLVM moves each sum's additions to its store and spills
        // all loads
        if params.never > 0u {
            for (var s = 0u; s < 16u; s++) { //: unroll
                sums[s] *= 2.0;
            }
        }
    }
    for (var r = 0u; r < 4u; r++) { //: unroll
        for (var v = 0u; v < 4u; v++) { //: unroll
            let i = (params.out_start + (row0 + r) * params.out_ld + col0 + v * SUBGROUP) & FAR;
            var value = sums[r * 4u + v];
            if BIAS { value += bias_vec(params.bias_start + col0 + v * SUBGROUP, lane); }
            if ADD { value += out_vec(i, lane); }
            for (var l = 0u; l < 8u; l++) { //: unroll
                out[i + l] = subgroupShuffle(value, l);
            }
        }
    }
}
