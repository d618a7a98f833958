//! `Pad(x, pads, value?, axes?)`: elements in front and behind along each axis, constant, at the edge,
//! mirrored or from the other side; negative pads cut off. Before opset 11 pads are attributes. The value
//! is a constant: no gradient reaches it.

use crate::picks::{Plan, pick, put_back, separable};
use crate::shapes::{self, shaped};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site, host};
use candle_core::Tensor;
use refit_graph::{Attribute, Dim, Fact, OpName};

pub(crate) struct Pad;

impl Operator for Pad {
    fn name(&self) -> OpName {
        OpName::standard("Pad")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let x = inputs.fact(0);
        let Some(dims) = x.shape else { return Ok(vec![shapes::of_type(x.dtype)]) };
        let open = (inputs.has(1) && inputs.integers(1).is_none())
            || (inputs.has(3) && inputs.integers(3).is_none());
        if open {
            return Ok(vec![shaped(x.dtype, Some(vec![Dim::Unknown; dims.len()]))]);
        }
        let pads = pads(site, inputs.integers(1), inputs.integers(3), dims.len())?;
        let padded = |(dim, (before, after)): (&Dim, (i64, i64))| match dim {
            dim if before == 0 && after == 0 => Ok(dim.clone()),
            Dim::Known(size) => {
                let size = *size as i64 + before + after;
                usize::try_from(size)
                    .map(Dim::Known)
                    .map_err(|_| site.refuse("more is cut off than there is"))
            }
            _ => Ok(Dim::Unknown),
        };
        let shape = dims.iter().zip(pads).map(padded).collect::<Result<_, _>>()?;
        Ok(vec![shaped(x.dtype, Some(shape))])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        let fill = match inputs.get(2) {
            Some(Some(value)) => host::constants(value)?.first().copied().unwrap_or(0.0),
            _ => f64::from(site.node.float("value").unwrap_or(0.0)),
        };
        Ok(vec![pick(x, &plan(site, x.dims(), inputs)?, fill)?])
    }

    fn host_inputs(&self) -> &'static [usize] {
        &[1, 2, 3]
    }

    fn differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[1, 3])
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let shape = &back.input_shapes[0];
        let mut gradients = vec![None; back.input_shapes.len()];
        gradients[0] = Some(put_back(gradient, &plan(site, shape, back.inputs)?.sources, shape)?);
        Ok(gradients)
    }

    fn problems(&self) -> Vec<Problem> {
        let mode = |name: &'static str| Attribute::String(name.as_bytes().into());
        let x = |what| Problem::new(what).random(&[3, 4]);
        vec![
            x("constant").integers(&[4], &[1, 0, 0, 2]).floats(&[], &[0.5]),
            x("cut off").integers(&[4], &[-1, 1, 0, -2]),
            x("an axis").integers(&[2], &[2, 1]).absent().integers(&[1], &[-1]),
            x("mirrored").integers(&[4], &[2, 3, 1, 1]).attribute("mode", mode("reflect")),
            x("at the edge").integers(&[4], &[2, 0, 1, 3]).attribute("mode", mode("edge")),
            x("from the other side").integers(&[4], &[1, 5, 0, 2]).attribute("mode", mode("wrap")),
            x("attributes").ints("pads", &[0, 1, 1, 0]).opset(9),
            Problem::new("an empty batch").random(&[0, 2]).integers(&[4], &[0, 1, 0, 1]),
        ]
    }
}

/// What is added in front and behind, for each axis.
fn pads(
    site: &Site,
    given: Option<Vec<i64>>,
    axes: Option<Vec<i64>>,
    rank: usize,
) -> Result<Vec<(i64, i64)>, OpError> {
    let given = given.or_else(|| site.node.ints("pads").map(<[i64]>::to_vec)).unwrap_or_default();
    let axes = match axes {
        Some(axes) => shapes::axes(site, &axes, rank)?,
        None => (0..rank).collect(),
    };
    if given.len() != 2 * axes.len() {
        return Err(site.refuse(format!("{} pads for {} axes", given.len(), axes.len())));
    }
    let mut pads = vec![(0, 0); rank];
    for (index, axis) in axes.iter().enumerate() {
        pads[*axis] = (given[index], given[index + axes.len()]);
    }
    Ok(pads)
}

fn plan(site: &Site, x: &[usize], inputs: &[Option<Tensor>]) -> Result<Plan, OpError> {
    let list = |index: usize| -> Result<Option<Vec<i64>>, OpError> {
        inputs.get(index).and_then(Option::as_ref).map(|t| shapes::integers(site, t)).transpose()
    };
    let pads = pads(site, list(1)?, list(3)?, x.len())?;
    let mode = site.node.text("mode").unwrap_or("constant");
    let mut along = Vec::new();
    for (size, (before, after)) in x.iter().zip(pads) {
        let count = usize::try_from(*size as i64 + before + after)
            .map_err(|_| site.refuse("more is cut off than there is"))?;
        let size = *size as i64;
        if size == 0 && mode != "constant" && count > 0 {
            return Err(site.refuse("there is nothing to repeat along an empty dimension"));
        }
        let source = |at: i64| match mode {
            "constant" => Some(at).filter(|at| (0..size).contains(at)),
            "edge" => Some(at.clamp(0, size - 1)),
            "wrap" => Some(at.rem_euclid(size)),
            // Back and forth without repeating the edges.
            _ => {
                let period = (2 * (size - 1)).max(1);
                let at = at.rem_euclid(period);
                Some(if at < size { at } else { period - at })
            }
        };
        along.push((0..count as i64).map(|i| source(i - before).map(|at| at as usize)).collect());
    }
    if !["constant", "edge", "wrap", "reflect"].contains(&mode) {
        let why = format!("\"{mode}\" is not constant, reflect, edge or wrap");
        return Err(OpError::Attribute { op: site.node.op.clone(), name: "mode", why });
    }
    Ok(separable(x, &along))
}
