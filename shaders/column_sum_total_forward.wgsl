// column_sum_total_forward: the sum of each column over the chunks of column_sum_part_forward.
//
// Shapes:    parts (n_chunk, n_col), out (n_col).
// Work:      one invocation per column.
// Numerics:  f32, chunks in order; one more addition with ADD.
// Limits:    elements of parts < 2^32; more than 65,535 workgroups fold into y.
// Reference: src/reference/column_sum.rs.
//: import index
//: variant cpu WG=16u
const WG: u32 = 64u;      //: tune
const ADD: bool = false;  //: mode false true

struct Params { n_chunk: u32, n_col: u32 }
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@group(0) @binding(1) var<storage, read> parts: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let col = linear_group(group_id, num_groups) * WG + local_id;
    if col >= params.n_col { return; }
    var sum = 0.0;
    for (var chunk = 0u; chunk < params.n_chunk; chunk++) {
        sum += parts[chunk * params.n_col + col];
    }
    if ADD { sum += out[col]; }
    out[col] = sum;
}
