// attention_softmax_forward: scale, causal mask and softmax of each row of scores, in place.
//
// Shapes:    att (n_row, n_time): scores in, probabilities out; row r is query r % n_time, which sees keys 0 to itself.
// Work:      LANES invocations per row, WG / LANES rows per workgroup; the visible part is read three times.
// Numerics:  exp of scaled score - largest only; exact zeros above the diagonal, where nothing is read.
// Limits:    n_row * n_time < 2^32. llvmpipe ends an invocation's loops after 65,535 rounds in all, so with LANES 1
//            n_time <= 65,000.
// Reference: src/reference/attention.rs.
//: import index lanes
//: variant cpu WG=8u LANES=1u
const WG: u32 = 64u;     //: tune
const LANES: u32 = 64u;  //: tune
const LOWEST: f32 = -3.4028235e38;

struct Params { n_row: u32, n_time: u32, scale: f32 }
@group(0) @binding(0) var<storage, read_write> att: array<f32>;
@group(0) @binding(1) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let row = linear_group(group_id, num_groups) * (WG / LANES) + local_id / LANES;
    let lane = local_id % LANES;
    let base = row * params.n_time;
    // a row past the end sees nothing, so that its lanes still meet the others at the barriers
    let real = row < params.n_row;
    let n = select(0u, row % params.n_time + 1u, real);
    let n_store = select(0u, params.n_time, real);

    var most = LOWEST;
    for (var i = lane; i < n; i += 4u * LANES) {
        for (var j = 0u; j < 4u; j++) { //: unroll
            let k = i + j * LANES;
            if k < n { most = max(most, att[base + k] * params.scale); }
        }
    }
    let row_max = lanes_max(most, local_id);
    var sum = 0.0;
    for (var i = lane; i < n; i += 4u * LANES) {
        for (var j = 0u; j < 4u; j++) { //: unroll
            let k = i + j * LANES;
            if k < n {
                let e = exp(att[base + k] * params.scale - row_max);
                att[base + k] = e;
                sum += e;
            }
        }
    }
    let row_sum = lanes_sum(sum, local_id);
    for (var i = lane; i < n_store; i += 4u * LANES) {
        for (var j = 0u; j < 4u; j++) { //: unroll
            let k = i + j * LANES;
            if k < n { att[base + k] = att[base + k] / row_sum; }
            if k >= n && k < n_store { att[base + k] = 0.0; }
        }
    }
}
