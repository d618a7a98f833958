//! `Trilu(x, k?)`: the upper or lower triangle of the last two dimensions; the rest is 0.

use crate::picks::{NOTHING, Picking, Plan};
use crate::{Known, OpError, Problem, Site, host};
use candle_core::Tensor;
use refit_graph::Fact;

pub(crate) static TRILU: Picking = Picking { name: "Trilu", host_inputs: &[1], infer, plan, problems };

fn infer(_site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
    Ok(vec![Fact { elements: None, ..inputs.fact(0) }])
}

fn plan(site: &Site, x: &[usize], inputs: &[Option<Tensor>]) -> Result<Plan, OpError> {
    let [.., rows, columns] = *x else { return Err(site.refuse("a matrix was expected")) };
    let k = match inputs.get(1) {
        Some(Some(k)) => host::integers(k)?.first().copied().unwrap_or(0),
        _ => 0,
    };
    let upper = site.node.int("upper").unwrap_or(1) != 0;
    let kept = |at: usize| {
        let distance = (at % columns) as i64 - (at / columns % rows) as i64;
        if upper { distance >= k } else { distance <= k }
    };
    let count: usize = x.iter().product();
    let sources = (0..count).map(|at| if kept(at) { at as u32 } else { NOTHING }).collect();
    Ok(Plan { shape: x.to_vec(), sources })
}

fn problems() -> Vec<Problem> {
    vec![
        Problem::new("upper").random(&[2, 3, 4]),
        Problem::new("lower, shifted").random(&[4, 3]).integers(&[], &[1]).int("upper", 0),
        Problem::new("an empty batch").random(&[0, 3, 3]),
    ]
}
