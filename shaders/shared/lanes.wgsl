// Reductions over the LANES neighbouring invocations that share a row; with LANES 1 no barrier remains. All WG
// invocations must call them together. The order of additions is fixed, and every lane gets the same result.
const_assert LANES > 0u && (LANES & (LANES - 1u)) == 0u && WG % LANES == 0u;
var<workgroup> lane_values: array<f32, WG>;

fn lanes_sum(value: f32, local_id: u32) -> f32 {
    var result = value;
    if LANES > 1u {
        lane_values[local_id] = value;
        workgroupBarrier();
        for (var step = LANES / 2u; step > 0u; step /= 2u) {
            if local_id % LANES < step { lane_values[local_id] += lane_values[local_id + step]; }
            workgroupBarrier();
        }
        result = lane_values[local_id - local_id % LANES];
        workgroupBarrier();
    }
    return result;
}

fn lanes_max(value: f32, local_id: u32) -> f32 {
    var result = value;
    if LANES > 1u {
        lane_values[local_id] = value;
        workgroupBarrier();
        for (var step = LANES / 2u; step > 0u; step /= 2u) {
            if local_id % LANES < step {
                lane_values[local_id] = max(lane_values[local_id], lane_values[local_id + step]);
            }
            workgroupBarrier();
        }
        result = lane_values[local_id - local_id % LANES];
        workgroupBarrier();
    }
    return result;
}
