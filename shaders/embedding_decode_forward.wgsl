// embedding_decode_forward: each row's newest token and its position, embedded.
//
// Shapes:    out (n_row, n_col); cursor (n_row, 4): token, length, ..; wte (n_id, n_col): rows first_id.. of a table of
//            vocab_size rows; wpe (n_time, n_col).
// Work:      one invocation per 4 elements, 4 WG elements per workgroup.
// Numerics:  one f32 addition.
// Limits:    n_row * n_col < 2^32. Writes only rows whose id lies in this part of the table; an id outside the whole
//            table (a row without a token) counts as a row of zeros. A length beyond wpe counts as its last row.
// Reference: src/reference/embedding/decode.rs.
//: import index
//: variant cpu WG=16u
const WG: u32 = 64u;           //: tune

struct Params { n: u32, n_col: u32, n_time: u32, first_id: u32, n_id: u32, vocab_size: u32 }
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@group(0) @binding(1) var<storage, read> cursor: array<vec4<u32>>;
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
            let col = i % params.n_col;
            let at = cursor[i / params.n_col];
            let here = at.x >= params.first_id && at.x - params.first_id < params.n_id;
            let nowhere = at.x >= params.vocab_size && params.first_id == 0u;
            if here || nowhere {
                var value = wpe[min(at.y, params.n_time - 1u) * params.n_col + col];
                if here { value += wte[(at.x - params.first_id) * params.n_col + col]; }
                out[i] = value;
            }
        }
    }
}
