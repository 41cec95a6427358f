// LANES invocations work on one row of attention scores: one row per workgroup with LANES = WG, or one per invocation.
//: variant cpu WG=16u LANES=1u
const WG: u32 = 64u;     //: tune
const LANES: u32 = 64u;  //: tune
const_assert LANES == 1u || LANES == WG;

var<workgroup> lanes: array<f32, WG>;

fn row_max(value: f32, lane: u32) -> f32 {
    if LANES == 1u { return value; }
    lanes[lane] = value;
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if lane < step { lanes[lane] = max(lanes[lane], lanes[lane + step]); }
        workgroupBarrier();
    }
    let all = lanes[0];
    workgroupBarrier();
    return all;
}

fn row_sum(value: f32, lane: u32) -> f32 {
    if LANES == 1u { return value; }
    lanes[lane] = value;
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if lane < step { lanes[lane] += lanes[lane + step]; }
        workgroupBarrier();
    }
    let all = lanes[0];
    workgroupBarrier();
    return all;
}
