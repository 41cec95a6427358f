// What a matmul kernel does to a finished sum, bias and earlier sums included, besides storing it. The importing file binds
// `second` and `other`, which lie like out: GELU_BESIDE stores GELU of what out gets into `second`; RESIDUAL adds `other`;
// GELU_GRADIENT multiplies by GELU's derivative at `other`. COLUMN_SUMS stores the sums of B's columns (N) into `second`,
// COLUMN_SUMS_ADDED adds them to it; the workgroups of the first row of tiles do that.
//: import gelu
const EPILOGUE: u32 = 0u;  //: mode 0u 1u 2u 3u 4u 5u 6u
const GELU: u32 = 1u;
const GELU_BESIDE: u32 = 2u;
const GELU_GRADIENT: u32 = 3u;
const RESIDUAL: u32 = 4u;
const COLUMN_SUMS: u32 = 5u;
const COLUMN_SUMS_ADDED: u32 = 6u;

const READS_OTHER: bool = EPILOGUE == GELU_GRADIENT || EPILOGUE == RESIDUAL;
const SUMS_COLUMNS: bool = EPILOGUE == COLUMN_SUMS || EPILOGUE == COLUMN_SUMS_ADDED;
// the result of a sum isn't the sum
const CHANGES: bool = EPILOGUE != 0u && !SUMS_COLUMNS;

// What out gets in place of a sum.
fn finished(sum: vec4<f32>, other_value: vec4<f32>) -> vec4<f32> {
    if EPILOGUE == GELU { return gelu(sum); }
    if EPILOGUE == GELU_GRADIENT { return sum * gelu_derivative(other_value); }
    if EPILOGUE == RESIDUAL { return sum + other_value; }
    return sum;
}
