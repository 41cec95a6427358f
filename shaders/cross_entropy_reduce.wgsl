// cross_entropy_reduce: the sum of all rows' losses, times a factor.
//
// Shapes:    loss, scale (1); losses (n).
// Work:      one workgroup; LANES invocations take every LANES-th run of 16 losses.
// Numerics:  sums of 16 in order, the runs of a lane in order, lanes by a tree; one more addition with ADD.
// Limits:    n < 2^32 - 2^13; on llvmpipe, which ends an invocation's loops after 65,535 iterations, n <= 1,048,560.
// Reference: src/reference/cross_entropy.rs.
//: import lanes
//: variant cpu WG=1u LANES=1u
const WG: u32 = 256u;     //: tune
const LANES: u32 = 256u;  //: tune
const ADD: bool = false;  //: mode false true
const RUN: u32 = 16u;     //: tune

struct Params { n: u32 }
@group(0) @binding(0) var<storage, read_write> loss: array<f32>;
@group(0) @binding(1) var<storage, read> losses: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) local_id: u32) {
    var sum = 0.0;
    for (var first = local_id * RUN; first < params.n; first += LANES * RUN) {
        var part = 0.0;
        for (var j = 0u; j < RUN; j++) { //: unroll
            if first + j < params.n { part += losses[first + j]; }
        }
        sum += part;
    }
    var total = lanes_sum(sum, local_id) * scale[0];
    if local_id == 0u {
        if ADD { total += loss[0]; }
        loss[0] = total;
    }
}
