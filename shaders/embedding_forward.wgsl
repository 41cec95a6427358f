// embedding_forward: rows of a table by id, plus a row by position.
//
// Shapes:    out (n_row, n_col); ids (n_row); wte (n_id, n_col): rows first_id.. of a table of vocab_size rows; wpe
//            (at least n_time, n_col); spans (n_row, 2), read with DOCUMENTS only.
// Work:      one invocation per 4 elements, 4 WG elements per workgroup.
// Numerics:  a copy, or one f32 addition with POSITION.
// Limits:    n_row * n_col < 2^32. Writes only rows whose id lies in this part of the table; an id outside the whole
//            table (the host passes none) counts as a row of zeros.
// Reference: src/reference/embedding.rs.
//: import index embedding_forward
//: variant cpu WG=256u
const EACH: u32 = 4u;             //: tune
alias Value = f32;

@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> wte: array<f32>;
@group(0) @binding(3) var<storage, read> wpe: array<f32>;
@group(0) @binding(4) var<storage, read> spans: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;
