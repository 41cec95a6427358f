// matmul_direct: matrix products for devices without fast workgroup memory, any size and alignment.
//
// Shapes:    a (M, K) or (K, M), b (K, N) or (N, K), bias (N), out (M, N); each with a leading dimension and, for a
//            batch in z, with strides of the outer and the inner index.
// Work:      one invocation per TM x TN tile of out, 4 terms at a time.
// Numerics:  f32, terms in the order of k; with ADD and BIAS one addition each at the end.
// Limits:    every element index < 2^32; at most 65,535 matrices in a batch.
// Reference: src/reference/matmul.rs.
//: import index matmul matmul_direct
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

// Rows and columns beyond the edge repeat the last one and are not stored; terms beyond K are 0.
fn a_at(start: u32, row: u32, k: u32) -> f32 {
    let r = min(row, params.m - 1u);
    let c = min(k, params.k - 1u);
    return select(0.0, a[start + select(r * params.a_ld + c, c * params.a_ld + r, TRANS_A)], k < params.k);
}

fn b_at(start: u32, k: u32, col: u32) -> f32 {
    let r = min(k, params.k - 1u);
    let c = min(col, params.n - 1u);
    return select(0.0, b[start + select(r * params.b_ld + c, c * params.b_ld + r, TRANS_B)], k < params.k);
}

fn a_over_k(start: u32, row: u32, k: u32) -> vec4<f32> {
    return vec4<f32>(a_at(start, row, k), a_at(start, row, k + 1u), a_at(start, row, k + 2u), a_at(start, row, k + 3u));
}

fn a_over_m(start: u32, row: u32, k: u32) -> vec4<f32> {
    return vec4<f32>(a_at(start, row, k), a_at(start, row + 1u, k), a_at(start, row + 2u, k), a_at(start, row + 3u, k));
}

fn b_over_k(start: u32, k: u32, col: u32) -> vec4<f32> {
    return vec4<f32>(b_at(start, k, col), b_at(start, k + 1u, col), b_at(start, k + 2u, col), b_at(start, k + 3u, col));
}

fn b_over_n(start: u32, k: u32, col: u32) -> vec4<f32> {
    return vec4<f32>(b_at(start, k, col), b_at(start, k, col + 1u), b_at(start, k, col + 2u), b_at(start, k, col + 3u));
}

fn store(start: u32, row: u32, col: u32, values: vec4<f32>) {
    for (var c = 0u; c < 4u; c++) { //: unroll
        if row < params.m && col + c < params.n {
            let i = start + row * params.out_ld + col + c;
            var value = values[c];
            if BIAS { value += bias[params.bias_start + col + c]; }
            if ADD { value += out[i]; }
            out[i] = value;
        }
    }
}
