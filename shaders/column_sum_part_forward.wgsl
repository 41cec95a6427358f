// column_sum_part_forward: the sum of each column over a chunk of rows.
//
// Shapes:    inp (n_row, n_col), from row first_row of the whole tensor; parts (n_chunk, n_col).
// Work:      one invocation per column and chunk of chunk_rows rows.
// Numerics:  f32, rows in order; a chunk that an earlier dispatch began continues from its sum.
// Limits:    elements of inp < 2^32; more than 65,535 workgroups fold into y.
// Reference: src/reference/column_sum.rs.
//: import index
//: variant cpu WG=16u
const WG: u32 = 64u;  //: tune

struct Params { n_row: u32, n_col: u32, first_row: u32, chunk_rows: u32 }
@group(0) @binding(0) var<storage, read_write> parts: array<f32>;
@group(0) @binding(1) var<storage, read> inp: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let groups_per_chunk = (params.n_col + WG - 1u) / WG;
    let group = linear_group(group_id, num_groups);
    let col = group % groups_per_chunk * WG + local_id;
    let chunk = params.first_row / params.chunk_rows + group / groups_per_chunk;
    // rows of the chunk that this range holds
    let last = params.first_row + params.n_row;
    let begin = max(chunk * params.chunk_rows, params.first_row);
    let end = min(last, (chunk + 1u) * params.chunk_rows);
    if col >= params.n_col || begin >= last { return; }
    var sum = 0.0;
    if begin > chunk * params.chunk_rows { sum = parts[chunk * params.n_col + col]; }
    for (var row = begin; row < end; row++) {
        sum += inp[(row - params.first_row) * params.n_col + col];
    }
    parts[chunk * params.n_col + col] = sum;
}
