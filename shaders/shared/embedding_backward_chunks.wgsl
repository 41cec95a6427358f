// The body of the embedding_backward_chunks kernels: sums over chunks of positions of one token, in Values. The
// importing file defines Value and binds partials, dout and sorted.
const WG: u32 = 64u;      //: tune
const CHUNK: u32 = 32u;

struct Params { n_row: u32, n_col: u32 }

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let i = linear_group(group_id, num_groups) * WG + local_id;
    let first = i / params.n_col;
    let col = i % params.n_col;
    let n = params.n_row;
    if first >= n { return; }
    let run = sorted[2u * n + first];
    if (first - run) % CHUNK != 0u { return; }
    let end = min(first + CHUNK, n);
    var sum = Value(0.0);
    for (var k = first; k < end && sorted[2u * n + k] == run; k++) {
        sum += dout[min(sorted[k], n - 1u) * params.n_col + col];
    }
    partials[i] = sum;
}
