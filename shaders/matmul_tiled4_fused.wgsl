// matmul_tiled4_fused: matmul_tiled4 with a fused epilogue: GELU, a residual sum, GELU's gradient, or the sums of B's
// columns.
//
// Shapes:    as matmul_tiled4; second and other have the layout of out or, for column sums, second (N), one after the
//            other for a batch, from element bias_start on.
// Work:      as matmul_tiled4; the workgroups of the first row of tiles also sum columns, each invocation a share of
//            the terms.
// Numerics:  as matmul_tiled4, then EPILOGUE. A column's sum adds its shares in order, each in the order of k.
// Limits:    as matmul_tiled4; N is a multiple of 4; no BIAS with column sums.
// Reference: src/reference/matmul.rs, src/reference/gelu.rs, src/reference/residual.rs, src/reference/column_sum.rs.
//: import index matmul matmul_tiled4 gelu
//: variant t128 TM=128u TN=128u PAD=0u
//: variant t64x R4=1u
//: variant t32 TM=32u TN=32u R4=1u C4=1u
// GELU stores GELU of the sum in out; GELU_BESIDE stores the sum in out and GELU of it in second; RESIDUAL adds other;
// GELU_GRADIENT multiplies by GELU's derivative at other. COLUMN_SUMS stores the sums of B's columns in second,
// COLUMN_SUMS_ADDED adds them to it.
const EPILOGUE: u32 = 1u;  //: mode 1u 2u 3u 4u 5u 6u
const GELU: u32 = 1u;
const GELU_BESIDE: u32 = 2u;
const GELU_GRADIENT: u32 = 3u;
const RESIDUAL: u32 = 4u;
const COLUMN_SUMS: u32 = 5u;
const COLUMN_SUMS_ADDED: u32 = 6u;
const SUMS_COLUMNS: bool = EPILOGUE == COLUMN_SUMS || EPILOGUE == COLUMN_SUMS_ADDED;

@group(0) @binding(0) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> second: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read> other: array<vec4<f32>>;
@group(0) @binding(6) var<uniform> params: Params;

// Applies the epilogue to four columns of a row and stores them in out.
fn store(start: u32, row: u32, col: u32, values: vec4<f32>) {
    if row >= params.m || col >= params.n { return; }
    let i = (start + row * params.out_ld + col) >> 2u;
    var value = values;
    if ADD { value += out[i]; }
    if EPILOGUE == GELU { value = gelu(value); }
    if EPILOGUE == GELU_BESIDE { second[i] = gelu(value); }
    if EPILOGUE == GELU_GRADIENT { value *= gelu_derivative(other[i]); }
    if EPILOGUE == RESIDUAL { value += other[i]; }
    out[i] = value;
}

fn store_column_sums(batch: u32, col: u32, values: vec4<f32>) {
    let i = (params.bias_start + batch * params.n + col) >> 2u;
    var value = values;
    if EPILOGUE == COLUMN_SUMS_ADDED { value += second[i]; }
    second[i] = value;
}
