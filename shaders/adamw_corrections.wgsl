// adamw_corrections: one step further in Adam's bias corrections, and the count of updates.
//
// Shapes:    corrections (4): 1 - beta1^t, 1 - beta2^t, updates done, updates skipped; norm (4) as written by
//            global_norm; hyper (8): lr, beta1, beta2, eps, weight_decay, 1 - beta1, 1 - beta2, unused.
// Work:      one invocation.
// Numerics:  1 - beta^t = beta (1 - beta^(t-1)) + (1 - beta): nothing cancels.
// Limits:    counts are exact to 2^24.
// Source:    Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization", section 3.
//: variant cpu WG=1u
const WG: u32 = 1u;       //: tune

struct Params { unused: u32 }
@group(0) @binding(0) var<storage, read_write> corrections: array<f32>;
@group(0) @binding(1) var<storage, read> norm: array<f32>;
@group(0) @binding(2) var<storage, read> hyper: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn main() {
    // the build step requires every binding to be used
    if params.unused == 1u { return; }
    if norm[2] > 0.5 {
        corrections[0] = hyper[1] * corrections[0] + hyper[5];
        corrections[1] = hyper[2] * corrections[1] + hyper[6];
        corrections[2] += 1.0;
    } else {
        corrections[3] += 1.0;
    }
}
