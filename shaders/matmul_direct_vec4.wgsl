// matmul_direct_vec4: matrix products for devices without fast workgroup memory, where everything comes in fours.
//
// Shapes:    as matmul_direct.
// Work:      as matmul_direct; every load and store takes 4 elements.
// Numerics:  as matmul_direct, bit for bit.
// Limits:    K, N, every leading dimension, start and stride, and M with TRANS_A, are multiples of 4; otherwise as
//            matmul_direct.
// Reference: src/reference/matmul.rs.
//: import index matmul matmul_direct
@group(0) @binding(0) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

// Rows and columns beyond the edge repeat the last ones and are not stored.
fn a_over_k(start: u32, row: u32, k: u32) -> vec4<f32> {
    return a[(start + min(row, params.m - 1u) * params.a_ld + k) >> 2u];
}

fn a_over_m(start: u32, row: u32, k: u32) -> vec4<f32> {
    return a[(start + k * params.a_ld + min(row, params.m - 4u)) >> 2u];
}

fn b_over_k(start: u32, k: u32, col: u32) -> vec4<f32> {
    return b[(start + min(col, params.n - 1u) * params.b_ld + k) >> 2u];
}

fn b_over_n(start: u32, k: u32, col: u32) -> vec4<f32> {
    return b[(start + k * params.b_ld + min(col, params.n - 4u)) >> 2u];
}

fn store(start: u32, row: u32, col: u32, values: vec4<f32>) {
    if row < params.m && col < params.n {
        let i = (start + row * params.out_ld + col) >> 2u;
        var value = values;
        if BIAS {
            let j = params.bias_start + col;
            value += vec4<f32>(bias[j], bias[j + 1u], bias[j + 2u], bias[j + 3u]);
        }
        if ADD { value += out[i]; }
        out[i] = value;
    }
}
