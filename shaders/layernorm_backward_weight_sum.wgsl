// layernorm_backward_weight_sum: second stage of the gradients of layer norm's weight and bias: adds the chunks' sums.
//
// Shapes:    out (n_col); partials (n_chunk, n_col).
// Work:      one invocation per column.
// Numerics:  the partial sums in order; one addition more with ADD.
// Limits:    n_chunk * n_col < 2^32.
// Reference: src/reference/layernorm.rs.
//: import index
//: variant cpu WG=8u
const WG: u32 = 64u;      //: tune
const ADD: bool = false;  //: mode false true

struct Params { n_chunk: u32, n_col: u32 }
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@group(0) @binding(1) var<storage, read> partials: array<f32>;
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
        sum += partials[chunk * params.n_col + col];
    }
    if ADD { sum += out[col]; }
    out[col] = sum;
}
