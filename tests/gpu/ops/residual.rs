#[test]
fn residual() {
    super::check("residual");
}
