// The body of the embedding_backward kernels: adds each token's chunks to its row, in Values. The importing file
// defines Value and binds dwte, partials and sorted.
const WG: u32 = 64u;      //: tune
const CHUNK: u32 = 32u;

struct Params { n_row: u32, n_col: u32, first_id: u32, n_id: u32 }

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let i = linear_group(group_id, num_groups) * WG + local_id;
    let run = i / params.n_col;
    let col = i % params.n_col;
    let n = params.n_row;
    if run >= n { return; }
    let token = sorted[n + run];
    let here = token >= params.first_id && token - params.first_id < params.n_id;
    if !here || sorted[2u * n + run] != run { return; }
    var sum = Value(0.0);
    for (var k = run; k < n && sorted[2u * n + k] == run; k += CHUNK) {
        sum += partials[k * params.n_col + col];
    }
    dwte[(token - params.first_id) * params.n_col + col] += sum;
}
