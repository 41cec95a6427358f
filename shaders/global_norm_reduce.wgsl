// global_norm_reduce: second stage of the norm of all gradients, and what follows from it for the step.
//
// Shapes:    norm (4): norm, clip coefficient, 1 if the step counts, 0 if something isn't finite, -1 if a limit is
//            exceeded, count of elements that aren't finite; partials (n); loss (1); limits (2): the largest loss and
//            norm of a step that counts, 0 for no limit.
// Work:      one workgroup; LANES invocations take every LANES-th run of 16 partials.
// Numerics:  each lane in order, lanes by a tree. A norm beyond f32's range counts as not finite, with a count of 0.
// Limits:    n < 2^31; on llvmpipe, which ends an invocation's loops after 65,535 iterations, n <= 1,048,560.
// Reference: src/reference/global_norm.rs.
//: import lanes
//: variant cpu WG=1u LANES=1u
const WG: u32 = 256u;     //: tune
const LANES: u32 = 256u;  //: tune
const SHRINK: f32 = 8.470329472543003e-22;       // 2^-70
const GROW: f32 = 1180591620717411303424.0;      // 2^70
const LARGEST_ROOT: f32 = 288230367561777152.0;  // the largest f32 below 2^58, as 2^128 = 2^58 2^70 is out of range
const EPS: f32 = 1e-6;                           // PyTorch's clip_grad_norm_

struct Params { n: u32, max_norm: f32 }
@group(0) @binding(0) var<storage, read_write> norm: array<f32>;
@group(0) @binding(1) var<storage, read> partials: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> loss: array<f32>;
@group(0) @binding(3) var<storage, read> limits: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) local_id: u32) {
    var sum = vec4<f32>(0.0);
    for (var first = local_id * 16u; first < params.n; first += LANES * 16u) {
        var part = vec4<f32>(0.0);
        for (var j = 0u; j < 16u; j++) { //: unroll
            if first + j < params.n { part += partials[first + j]; }
        }
        sum += part;
    }
    let middling = lanes_sum(sum.x, local_id);
    let huge = lanes_sum(sum.y, local_id);
    let tiny = lanes_sum(sum.z, local_id);
    let n_bad = lanes_sum(sum.w, local_id);
    if local_id != 0u { return; }

    var length = 0.0;
    // an exponent of all ones, as in the first stage
    var is_finite = n_bad == 0.0 && (bitcast<u32>(loss[0]) & 0x7f800000u) != 0x7f800000u;
    if huge > 0.0 {
        // not `middling * SHRINK * SHRINK`: Mesa 26 multiplies the constants first, and their product is 0 in f32
        let small = sqrt(middling) * SHRINK;
        let root = sqrt(huge + small * small);
        is_finite = is_finite && root <= LARGEST_ROOT;
        length = min(root, LARGEST_ROOT) * GROW;
    } else if middling > 0.0 {
        let small = sqrt(tiny) * SHRINK;
        length = sqrt(middling + small * small);
    } else {
        length = sqrt(tiny) * SHRINK;
    }
    var coef = 1.0;
    if params.max_norm > 0.0 { coef = min(params.max_norm / (length + EPS), 1.0); }
    let is_far = limits[0] > 0.0 && loss[0] > limits[0] || limits[1] > 0.0 && length > limits[1];
    norm[0] = select(0.0, length, is_finite);
    norm[1] = select(0.0, coef, is_finite && !is_far);
    norm[2] = select(0.0, select(1.0, -1.0, is_far), is_finite);
    norm[3] = n_bad;
}
