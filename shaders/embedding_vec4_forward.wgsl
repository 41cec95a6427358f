// embedding_vec4_forward: rows of a table by id, plus a row by position, if the number of columns is a multiple of 4.
//
// Shapes:    as embedding_forward; n and n_col count groups of 4 columns.
// Work:      one invocation per 4 elements, 4 WG elements per workgroup.
// Numerics:  as embedding_forward, element for element.
// Limits:    n < 2^30. Writes only rows whose id lies in this part of the table; an id outside the whole table (the
//            host passes none) counts as a row of zeros.
// Reference: src/reference/embedding.rs.
//: import index embedding_forward
//: variant cpu WG=256u
const EACH: u32 = 1u;             //: tune
alias Value = vec4<f32>;

@group(0) @binding(0) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> wte: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> wpe: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> spans: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;
