// embedding_backward_position: the gradient of the position table: sums over the batch.
//
// Shapes:    dwpe (n / n_col rows, n_col); dout (n_batch, n_time, n_col).
// Work:      one invocation per element of dwpe.
// Numerics:  sums of n_batch values in order; one more addition with ADD; 0 for positions beyond n_time.
// Limits:    n_batch * n_time * n_col < 2^32.
// Reference: src/reference/embedding.rs.
//: import index
//: variant cpu WG=256u
const WG: u32 = 64u;      //: tune
const ADD: bool = false;  //: mode false true

struct Params { n: u32, n_batch: u32, n_time: u32, n_col: u32 }
@group(0) @binding(0) var<storage, read_write> dwpe: array<f32>;
@group(0) @binding(1) var<storage, read> dout: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let i = linear_group(group_id, num_groups) * WG + local_id;
    if i >= params.n { return; }
    let stride = params.n_time * params.n_col;
    var sum = 0.0;
    if i < stride {
        for (var b = 0u; b < params.n_batch; b++) { sum += dout[b * stride + i]; }
    }
    if ADD { sum += dwpe[i]; }
    dwpe[i] = sum;
}
