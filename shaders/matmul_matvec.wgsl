// matmul_matvec: the product of a few rows with a matrix, with bias and GELU: one token's linear layers.
//
// Shapes:    out, A and B as matmul_direct without TRANS_A: A (m, a_ld) from column a_start, B (k, n), or (n, k)
//            with TRANS_B, out (m, out_ld) from column out_start; bias (n) from bias_start.
// Work:      ROWS rows by 4 columns per invocation and K slice; a workgroup has WG / SLICES such tiles; y counts rows.
// Numerics:  f32 sums, a slice's terms in order, then the slices in order.
// Limits:    k is a multiple of 4, and so is n without TRANS_B; k / 4 iterations (65,535 at most on llvmpipe).
// Reference: src/reference/matmul.rs.
//: import gelu
//: variant cpu WG=16u SLICES=1u
const WG: u32 = 128u;          //: tune
const SLICES: u32 = 16u;       //: tune
const TRANS_B: bool = false;   //: mode false true
const ADD: bool = false;       //: mode false true
const BIAS: bool = false;      //: mode false true
const GELU: bool = false;      //: mode false true
const ROWS: u32 = 1u;          //: mode 1u 2u 4u
const TILES: u32 = WG / SLICES;

struct Params { m: u32, n: u32, k: u32, a_start: u32, a_ld: u32, out_start: u32, out_ld: u32, bias_start: u32 }
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> slices: array<vec4<f32>, WG>;

fn store(row: u32, col: u32, sums: vec4<f32>) {
    var value = sums;
    let at = row * params.out_ld + params.out_start + col;
    for (var j = 0u; j < 4u; j++) { //: unroll
        if col + j < params.n {
            if BIAS { value[j] += bias[params.bias_start + col + j]; }
            if ADD { value[j] += out[at + j]; }
        }
    }
    if GELU { value = gelu(value); }
    for (var j = 0u; j < 4u; j++) { //: unroll
        if col + j < params.n { out[at + j] = value[j]; }
    }
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(local_invocation_index) local_id: u32) {
    // neighbours read adjacent elements: columns of B (k, n), terms of B (n, k)
    let tile = select(local_id % TILES, local_id / SLICES, TRANS_B);
    let slice = select(local_id / TILES, local_id % SLICES, TRANS_B);
    let col = (group_id.x * TILES + tile) * 4u;
    let row = group_id.y * ROWS;
    let k4 = params.k / 4u;
    var sums: array<vec4<f32>, ROWS>;
    if col < params.n {
        for (var k = slice; k < k4; k += SLICES) {
            var cols: array<vec4<f32>, 4>;
            for (var j = 0u; j < 4u; j++) { //: unroll
                if TRANS_B {
                    // columns past the end repeat the last one and are not stored
                    cols[j] = b[min(col + j, params.n - 1u) * k4 + k];
                } else {
                    cols[j] = b[((4u * k + j) * params.n + col) >> 2u];
                }
            }
            for (var r = 0u; r < ROWS; r++) { //: unroll
                let x = a[(min(row + r, params.m - 1u) * params.a_ld + params.a_start) / 4u + k];
                if TRANS_B {
                    sums[r] += vec4<f32>(dot(x, cols[0]), dot(x, cols[1]), dot(x, cols[2]), dot(x, cols[3]));
                } else {
                    sums[r] = sums[r] + x.x * cols[0] + x.y * cols[1] + x.z * cols[2] + x.w * cols[3];
                }
            }
        }
    }
    for (var r = 0u; r < ROWS; r++) { //: unroll
        var total = sums[r];
        if SLICES > 1u {
            slices[local_id] = total;
            workgroupBarrier();
            total = vec4<f32>(0.0);
            for (var s = 0u; s < SLICES; s++) {
                total += slices[select(s * TILES + tile, tile * SLICES + s, TRANS_B)];
            }
            workgroupBarrier();
        }
        if slice == 0u && col < params.n && row + r < params.m { store(row + r, col, total); }
    }
}
