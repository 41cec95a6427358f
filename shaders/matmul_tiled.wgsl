// matmul_tiled: matrix products through tiles in workgroup memory, any size and alignment.
//
// Shapes:    a (M, K) or (K, M), b (K, N) or (N, K), bias (N), out (M, N); each with a leading dimension and, for a
//            batch in z, with strides of the outer and the inner index.
// Work:      one workgroup of 16 x 16 per 64 x 64 tile of out, 4 x 4 per invocation, 16 terms at a time.
// Numerics:  f32, terms in the order of k; with ADD and BIAS one addition each at the end.
// Limits:    every element index < 2^32; at most 65,535 matrices in a batch.
// Reference: src/reference/matmul.rs.
//: import index matmul
const TILE: u32 = 64u;
const TK: u32 = 16u;
// 2 more than the tile: 16 terms x 2 rows of it, stored by neighbouring invocations, fall into 32 different banks
const STRIDE: u32 = 66u;

@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

// (k, row) and (k, column)
var<workgroup> a_tile: array<f32, TK * STRIDE>;
var<workgroup> b_tile: array<f32, TK * STRIDE>;

// Elements outside a matrix are 0.
fn a_at(start: u32, row: u32, k: u32) -> f32 {
    let r = min(row, params.m - 1u);
    let c = min(k, params.k - 1u);
    return select(0.0, a[start + select(r * params.a_ld + c, c * params.a_ld + r, TRANS_A)], r == row && c == k);
}

fn b_at(start: u32, k: u32, col: u32) -> f32 {
    let r = min(k, params.k - 1u);
    let c = min(col, params.n - 1u);
    return select(0.0, b[start + select(r * params.b_ld + c, c * params.b_ld + r, TRANS_B)], r == k && c == col);
}

@compute @workgroup_size(16, 16)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let tiles_m = (params.m + TILE - 1u) / TILE;
    let tiles_n = (params.n + TILE - 1u) / TILE;
    let tile = linear_group(group_id, num_groups);
    if tile >= tiles_m * tiles_n { return; }
    let m0 = tile % tiles_m * TILE;
    let n0 = tile / tiles_m * TILE;
    let starts = batch_starts(group_id.z);
    // rows y, y + 16, ... and columns x, x + 16, ...: neighbours load and store adjacent words
    let x = local_id % 16u;
    let y = local_id / 16u;
    var sums: array<vec4<f32>, 4>;
    for (var k0 = 0u; k0 < params.k; k0 += TK) {
        for (var l = 0u; l < 4u; l++) { //: unroll
            // along the matrix's own rows
            let i = local_id + l * 256u;
            let a_row = select(i / TK, i % TILE, TRANS_A);
            let a_k = select(i % TK, i / TILE, TRANS_A);
            a_tile[a_k * STRIDE + a_row] = a_at(starts.x, m0 + a_row, k0 + a_k);
            let b_col = select(i % TILE, i / TK, TRANS_B);
            let b_k = select(i / TILE, i % TK, TRANS_B);
            b_tile[b_k * STRIDE + b_col] = b_at(starts.y, k0 + b_k, n0 + b_col);
        }
        workgroupBarrier();
        for (var k = 0u; k < 16u; k++) { //: unroll
            let at_row = k * STRIDE + y;
            let at_col = k * STRIDE + x;
            let row = vec4<f32>(a_tile[at_row], a_tile[at_row + 16u], a_tile[at_row + 32u], a_tile[at_row + 48u]);
            let col = vec4<f32>(b_tile[at_col], b_tile[at_col + 16u], b_tile[at_col + 32u], b_tile[at_col + 48u]);
            for (var i = 0u; i < 4u; i++) { //: unroll
                sums[i] += row[i] * col;
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < 4u; i++) { //: unroll
        for (var j = 0u; j < 4u; j++) { //: unroll
            let row = m0 + y + 16u * i;
            let col = n0 + x + 16u * j;
            if row < params.m && col < params.n {
                let at = starts.z + row * params.out_ld + col;
                var value = sums[i][j];
                if BIAS { value += bias[params.bias_start + col]; }
                if ADD { value += out[at]; }
                out[at] = value;
            }
        }
    }
}
