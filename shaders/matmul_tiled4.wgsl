// matmul_tiled4: matrix products through tiles in workgroup memory, four elements at a time.
//
// Shapes:    as matmul_tiled.
// Work:      one workgroup per TM x TN tile of out, 4 R4 x 4 C4 of it in the registers of each invocation, TK terms at
//            a time: these are loaded as blocks of 4 x 4 and kept in workgroup memory with the terms as rows.
// Numerics:  f32, terms in the order of k, fused multiply-adds; with ADD and BIAS one addition each at the end.
// Limits:    every leading dimension, start and stride is a multiple of 4, so that rows are padded to fours, and the
//            padding may hold anything; TAIL if K isn't a multiple of TK, ODD if N isn't one of 4. Every element index
//            < 2^32; at most 65,535 matrices in a batch.
// Reference: src/reference/matmul.rs.
//: import index matmul matmul_tiled4
//: variant t128 TM=128u TN=128u PAD=0u
//: variant t64x R4=1u
//: variant t32 TM=32u TN=32u R4=1u C4=1u
const ODD: bool = false;  //: mode false true
const SUMS_COLUMNS: bool = false;

@group(0) @binding(0) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

// Stores four columns of a row in out.
fn store(start: u32, row: u32, col: u32, values: vec4<f32>) {
    if row >= params.m || col >= params.n { return; }
    let i = (start + row * params.out_ld + col) >> 2u;
    var value = values;
    if !ODD || col + 4u <= params.n {
        if ADD { value += out[i]; }
        out[i] = value;
        return;
    }
    for (var c = 0u; c < 3u; c++) { //: unroll
        if col + c < params.n {
            if ADD { value[c] += out[i][c]; }
            out[i][c] = value[c];
        }
    }
}

fn store_column_sums(batch: u32, col: u32, values: vec4<f32>) {}
