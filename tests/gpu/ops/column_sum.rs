use tril::ops::ColumnSum;
use tril::reference::compare::Tolerance;

use super::Golden;

#[test]
fn column_sum() {
    super::check("column_sum");
}

#[test]
fn column_sum_golden() {
    Golden::each("column_sum", |case| {
        let n_row = case.shape("inp").n_row() as usize;
        let tolerance = Tolerance::sum(n_row, case.largest("inp"));
        case.check(ColumnSum, &[case.f32("inp")], &[("out", tolerance)]);
    });
}
