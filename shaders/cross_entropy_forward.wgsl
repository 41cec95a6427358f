// cross_entropy_forward: the loss of each row of logits against its target token.
//
// Shapes:    losses, lse, targets (n_row); logits (n_row, n_col).
// Work:      LANES invocations per row, WG / LANES rows per workgroup; the row is read twice.
// Numerics:  exp of logit - largest logit only; loss = log(sum) - (target's logit - largest). A NaN among the logits
//            makes lse and loss NaN.
// Limits:    n_row * n_col < 2^32; logits within half of f32's range; a target outside the row is ignored.
//            llvmpipe ends an invocation's loops after 65,535 iterations in total, so with LANES 1 n_col <= 262,000.
// Reference: src/reference/cross_entropy.rs.
//: import index lanes
//: variant cpu WG=16u LANES=1u
const WG: u32 = 256u;     //: tune
const LANES: u32 = 256u;  //: tune
const LOWEST: f32 = -3.4028235e38;

struct Params { n_row: u32, n_col: u32 }
@group(0) @binding(0) var<storage, read_write> losses: array<f32>;
@group(0) @binding(1) var<storage, read_write> lse: array<f32>;
@group(0) @binding(2) var<storage, read> logits: array<f32>;
@group(0) @binding(3) var<storage, read> targets: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_groups: vec3<u32>,
    @builtin(local_invocation_index) local_id: u32,
) {
    let row = linear_group(group_id, num_groups) * (WG / LANES) + local_id / LANES;
    let lane = local_id % LANES;
    // a row past the end has no columns, but its lanes must still reach the barriers
    let n = select(0u, params.n_col, row < params.n_row);
    let base = row * params.n_col;

    var most = LOWEST;
    for (var i = lane; i < n; i += 8u * LANES) {
        for (var j = 0u; j < 8u; j++) { //: unroll
            let k = i + j * LANES;
            if k < n { most = max(most, logits[base + k]); }
        }
    }
    let row_max = lanes_max(most, local_id);
    var sum = 0.0;
    for (var i = lane; i < n; i += 8u * LANES) {
        var part = 0.0;
        for (var j = 0u; j < 8u; j++) { //: unroll
            let k = i + j * LANES;
            if k < n { part += exp(logits[base + k] - row_max); }
        }
        sum += part;
    }
    let row_log = log(lanes_sum(sum, local_id));
    if lane == 0u && row < params.n_row {
        lse[row] = row_max + row_log;
        var loss = 0.0;
        let goal = targets[row];
        if goal < n { loss = row_log - (logits[base + goal] - row_max); }
        losses[row] = loss;
    }
}
