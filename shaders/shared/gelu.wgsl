// GELU in the tanh form, written with a sigmoid: x/2 (1 + tanh(u)) = x sigmoid(2u), 2u = GAIN (x + CUBIC x^3).
// Beyond CLAMP the sigmoid is 0 or 1 in f32; clamping there keeps x^3 from overflowing.
const GELU_GAIN: f32 = 1.5957691; // 2 sqrt(2 / pi)
const GELU_CUBIC: f32 = 0.044715;
const GELU_CLAMP: f32 = 16.0;

// (sigmoid(2u), its derivative with respect to 2u), from exp(-|2u|), which can't overflow and doesn't cancel
struct GeluGate { sigmoid: vec4<f32>, slope: vec4<f32> }

fn gelu_gate(x: vec4<f32>) -> GeluGate {
    let c = clamp(x, vec4<f32>(-GELU_CLAMP), vec4<f32>(GELU_CLAMP));
    let z = GELU_GAIN * (c + GELU_CUBIC * c * c * c);
    let e = exp(-abs(z));
    let q = 1.0 / (1.0 + e);
    return GeluGate(select(q, e * q, z < vec4<f32>(0.0)), e * q * q);
}

fn gelu(x: vec4<f32>) -> vec4<f32> {
    return x * gelu_gate(x).sigmoid;
}

fn gelu_derivative(x: vec4<f32>) -> vec4<f32> {
    let gate = gelu_gate(x);
    let c = clamp(x, vec4<f32>(-GELU_CLAMP), vec4<f32>(GELU_CLAMP));
    // the factor x isn't clamped, so that a NaN stays one
    return gate.sigmoid + x * gate.slope * (GELU_GAIN * (1.0 + 3.0 * GELU_CUBIC * c * c));
}
