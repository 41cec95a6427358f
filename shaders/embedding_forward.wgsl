// embedding_forward: rows of a table by id, plus a row by position.
//
// Shapes:    out (n_row, n_col); ids (n_row); wte (n_id, n_col): rows first_id.. of a table of vocab_size rows; wpe
//            (at least n_time, n_col).
// Work:      one invocation per 4 elements, 4 WG elements per workgroup.
// Numerics:  a copy, or one f32 addition with POSITION.
// Limits:    n_row * n_col < 2^32. Writes only rows whose id lies in this part of the table; an id outside of the whole
//            table (the host lets none through) counts as a row of zeros.
// Reference: src/reference/embedding.rs.
//: import index
//: variant cpu WG=256u
const WG: u32 = 64u;           //: tune
const POSITION: bool = false;  //: mode false true

struct Params { n: u32, n_col: u32, n_time: u32, first_row: u32, first_id: u32, n_id: u32, vocab_size: u32 }
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> wte: array<f32>;
@group(0) @binding(3) var<storage, read> wpe: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let first = linear_group(group_id, num_groups) * WG * 4u + local_id;
    for (var j = 0u; j < 4u; j++) { //: unroll
        let i = first + j * WG;
        if i < params.n {
            let row = i / params.n_col;
            let col = i % params.n_col;
            let id = ids[row];
            let here = id >= params.first_id && id - params.first_id < params.n_id;
            let nowhere = id >= params.vocab_size && params.first_id == 0u;
            if here || nowhere {
                var value = 0.0;
                if here { value = wte[(id - params.first_id) * params.n_col + col]; }
                if POSITION { value += wpe[(params.first_row + row) % params.n_time * params.n_col + col]; }
                out[i] = value;
            }
        }
    }
}
