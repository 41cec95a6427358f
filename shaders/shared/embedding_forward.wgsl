// The body of the embedding_forward kernels: rows of a table by id, in Values. The importing file defines Value, binds
// out, ids, wte, wpe and spans, and sets EACH, the Values per invocation.
const WG: u32 = 64u;           //: tune
const POSITION: bool = false;  //: mode false true
// whether positions count from the start of a row's document, spans (n_row, 2); if false, spans isn't read
const DOCUMENTS: bool = false;  //: mode false true

struct Params { n: u32, n_col: u32, n_time: u32, first_row: u32, first_id: u32, n_id: u32, vocab_size: u32 }

fn embed(i: u32) {
    let row = i / params.n_col;
    let col = i % params.n_col;
    let id = ids[row];
    let here = id >= params.first_id && id - params.first_id < params.n_id;
    let nowhere = id >= params.vocab_size && params.first_id == 0u;
    if !here && !nowhere { return; }
    var value = Value(0.0);
    if here { value = wte[(id - params.first_id) * params.n_col + col]; }
    var position = (params.first_row + row) % params.n_time;
    if DOCUMENTS { position -= spans[2u * row]; }
    if POSITION { value += wpe[position * params.n_col + col]; }
    out[i] = value;
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let first = linear_group(group_id, num_groups) * WG * EACH + local_id;
    for (var j = 0u; j < EACH; j++) { //: unroll
        let i = first + j * WG;
        if i < params.n { embed(i); }
    }
}
