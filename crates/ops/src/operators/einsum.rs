//! `Einsum(operands.., equation)`: sums over products, as batched matrix products of two operands at a
//! time. Indices are letters; `...` stands for leading dimensions that are broadcast; a letter that is
//! repeated within an operand takes its diagonal.

use crate::picks::{Plan, pick, put_back, strides};
use crate::shapes::{self, broadcast_to, shaped, sum_to};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::{DType, Tensor};
use refit_graph::{Attribute, Dim, Fact, OpName};
use std::collections::BTreeMap;

pub(crate) struct Einsum;

impl Operator for Einsum {
    fn name(&self) -> OpName {
        OpName::standard("Einsum")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.dtype(0);
        let shapes: Option<Vec<Vec<Dim>>> = (0..inputs.facts.len()).map(|i| inputs.fact(i).shape).collect();
        let Some(shapes) = shapes else { return Ok(vec![shapes::of_type(dtype)]) };
        let ranks: Vec<usize> = shapes.iter().map(Vec::len).collect();
        let equation = Equation::new(site, &ranks)?;
        let mut sizes: BTreeMap<char, Dim> = BTreeMap::new();
        for (label, dim) in equation.operands.concat().into_iter().zip(shapes.concat()) {
            match sizes.get(&label) {
                Some(Dim::Known(a)) if *a != 1 => {
                    if dim.known().is_some_and(|b| b != 1 && b != *a) {
                        return Err(site.refuse("an index has two sizes"));
                    }
                }
                Some(Dim::Known(_)) | None => drop(sizes.insert(label, dim)),
                // A name stays unless the size itself is known.
                Some(_) if dim.known().is_some_and(|size| size != 1) => drop(sizes.insert(label, dim)),
                Some(_) => {}
            }
        }
        let shape = equation.output.iter().map(|label| sizes.get(label).cloned().unwrap_or(Dim::Unknown));
        Ok(vec![shaped(dtype, Some(shape.collect()))])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let operands = inputs.iter().enumerate().map(|(index, _)| site.required(inputs, index).cloned());
        let operands: Vec<Tensor> = operands.collect::<Result<_, _>>()?;
        let ranks: Vec<usize> = operands.iter().map(Tensor::rank).collect();
        let equation = Equation::new(site, &ranks)?;
        let terms = equation.operands.iter().cloned().zip(&operands);
        let terms = terms.map(|(labels, tensor)| Term { labels, tensor: tensor.clone() }).collect();
        Ok(vec![contract(site, terms, &equation.output)?])
    }

    fn reads(&self, _site: &Site, wanted: &[bool]) -> Option<Reads> {
        // One operand alone is only summed and turned.
        if wanted.len() == 1 {
            Reads::nothing()
        } else {
            Some(Reads { inputs: (0..wanted.len()).collect(), outputs: Vec::new() })
        }
    }

    /// The gradient takes the place of the operand: the other indices are summed over.
    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let ranks: Vec<usize> = back.input_shapes.iter().map(Vec::len).collect();
        let equation = Equation::new(site, &ranks)?;
        let sizes = equation.sizes(site, back.input_shapes)?;
        let mut gradients = vec![None; ranks.len()];
        for index in (0..ranks.len()).filter(|index| back.wants(*index)) {
            let mut terms = vec![Term { labels: equation.output.clone(), tensor: gradient.clone() }];
            for other in (0..ranks.len()).filter(|other| *other != index) {
                let labels = equation.operands[other].clone();
                terms.push(Term { labels, tensor: site.required(back.inputs, other)?.clone() });
            }
            let labels = &equation.operands[index];
            let once = distinct(labels);
            // Indices that nothing but this operand has were summed over: their gradient repeats.
            let present: Vec<char> =
                once.iter().copied().filter(|l| terms.iter().any(|term| term.labels.contains(l))).collect();
            let made = contract(site, terms, &present)?;
            let kept: Vec<usize> = once
                .iter()
                .map(|l| if present.contains(l) { made.dims()[position(&present, *l)] } else { 1 })
                .collect();
            let full: Vec<usize> = once.iter().map(|label| sizes[label]).collect();
            let spread = made.reshape(kept)?.broadcast_as(full)?.contiguous()?;
            let shape = &back.input_shapes[index];
            gradients[index] = Some(if once.len() == labels.len() {
                sum_to(&spread, shape)?
            } else {
                let plan = diagonal(labels, &once, shape);
                put_back(&sum_to(&spread, &plan.shape)?, &plan.sources, shape)?
            });
        }
        Ok(gradients)
    }

    fn problems(&self) -> Vec<Problem> {
        let problem = |equation: &'static str, shapes: &[&[usize]]| {
            let start = Problem::new(equation);
            let with = shapes.iter().fold(start, |problem, shape| problem.random(shape));
            with.attribute("equation", Attribute::String(equation.as_bytes().into()))
        };
        vec![
            problem("bij, bjk -> bik", &[&[2, 3, 4], &[2, 4, 5]]),
            problem("bhid,bhjd->bhij", &[&[2, 2, 3, 4], &[2, 2, 5, 4]]),
            problem("ij->ji", &[&[3, 4]]),
            problem("ij->i", &[&[3, 4]]),
            problem("ii->i", &[&[3, 3]]),
            problem("i,i", &[&[5], &[5]]),
            problem("i,j->ij", &[&[3], &[4]]),
            problem("...ij,jk->...ik", &[&[2, 3, 4], &[4, 2]]),
            problem("...i,...i->...", &[&[2, 3], &[1, 3]]),
            problem("ab,bc,cd->da", &[&[2, 3], &[3, 2], &[2, 4]]),
            problem("ij,k->k", &[&[2, 3], &[4]]),
            problem("bi,bi->b", &[&[0, 3], &[0, 3]]),
        ]
    }
}

/// An equation for operands of known ranks; the dimensions of `...` have letters of their own.
struct Equation {
    operands: Vec<Vec<char>>,
    output: Vec<char>,
}

/// Letters for the dimensions of `...`, counted from the last.
fn hidden(from_last: usize) -> char {
    char::from_u32(0xE000 + from_last as u32).unwrap_or('?')
}

impl Equation {
    fn new(site: &Site, ranks: &[usize]) -> Result<Self, OpError> {
        let text = site.node.text("equation").unwrap_or_default();
        let wrong = |why: String| OpError::Attribute { op: site.node.op.clone(), name: "equation", why };
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (text.as_str(), None),
        };
        let parts: Vec<&str> = left.split(',').collect();
        if parts.len() != ranks.len() {
            return Err(wrong(format!("it names {} operands, there are {}", parts.len(), ranks.len())));
        }
        let mut widest = 0;
        let mut operands = Vec::new();
        for (part, rank) in parts.iter().zip(ranks) {
            let letters = part.replace("...", "").chars().count();
            let open = rank.checked_sub(letters).filter(|open| *open == 0 || part.contains("..."));
            let open = open.ok_or_else(|| wrong(format!("\"{part}\" does not fit {rank} dimensions")))?;
            widest = widest.max(open);
            operands.push(spell(part, open));
        }
        if let Some(bad) = operands.concat().iter().find(|c| !c.is_ascii_alphabetic() && **c < '\u{E000}') {
            return Err(wrong(format!("'{bad}' is no index")));
        }
        let output = match right {
            Some(right) => spell(right, widest),
            None => {
                let all = operands.concat();
                let count = |label: char| all.iter().filter(|l| **l == label).count();
                let mut once: Vec<char> =
                    all.iter().copied().filter(|l| l.is_ascii_alphabetic() && count(*l) == 1).collect();
                once.sort_unstable();
                (0..widest).rev().map(hidden).chain(once).collect()
            }
        };
        match output.iter().find(|label| !operands.concat().contains(label)) {
            Some(label) => Err(wrong(format!("'{label}' is in no operand"))),
            None => Ok(Self { operands, output }),
        }
    }

    /// The size of each index.
    fn sizes(&self, site: &Site, shapes: &[Vec<usize>]) -> Result<BTreeMap<char, usize>, OpError> {
        let mut sizes = BTreeMap::new();
        for (label, size) in self.operands.concat().into_iter().zip(shapes.concat()) {
            let known = sizes.entry(label).or_insert(size);
            if *known == 1 {
                *known = size;
            }
            if size != 1 && size != *known {
                return Err(site.refuse(format!("an index has sizes {known} and {size}")));
            }
        }
        Ok(sizes)
    }
}

fn spell(part: &str, open: usize) -> Vec<char> {
    match part.split_once("...") {
        Some((front, end)) => front.chars().chain((0..open).rev().map(hidden)).chain(end.chars()).collect(),
        None => part.chars().collect(),
    }
}

/// A tensor whose dimensions are named.
struct Term {
    labels: Vec<char>,
    tensor: Tensor,
}

/// The sum of products of all terms over every index that is not in `output`.
fn contract(site: &Site, terms: Vec<Term>, output: &[char]) -> Result<Tensor, OpError> {
    let mut terms: Vec<Term> = terms.into_iter().map(without_repeats).collect::<Result<_, _>>()?;
    let mut result = terms.remove(0);
    while !terms.is_empty() {
        let next = terms.remove(0);
        let needed = |label: &char| output.contains(label) || terms.iter().any(|t| t.labels.contains(label));
        result = product(site, result, next, needed)?;
    }
    let result = summed(result, |label| output.contains(label))?;
    let order: Vec<usize> = output.iter().map(|label| position(&result.labels, *label)).collect();
    Ok(result.tensor.permute(order)?.contiguous()?)
}

fn position(labels: &[char], label: char) -> usize {
    labels.iter().position(|l| *l == label).unwrap_or(0)
}

/// Sums over the indices that are not needed.
fn summed(term: Term, needed: impl Fn(&char) -> bool) -> Result<Term, OpError> {
    let over: Vec<usize> = (0..term.labels.len()).filter(|at| !needed(&term.labels[*at])).collect();
    if over.is_empty() {
        return Ok(term);
    }
    let labels = term.labels.into_iter().filter(|label| needed(label)).collect();
    Ok(Term { labels, tensor: term.tensor.sum(over)? })
}

/// The product of two terms, summed over what is not needed any more.
fn product(site: &Site, a: Term, b: Term, needed: impl Fn(&char) -> bool) -> Result<Term, OpError> {
    let a = summed(a, |label| needed(label) || b.labels.contains(label))?;
    let b = summed(b, |label| needed(label) || a.labels.contains(label))?;
    let (a, b) = together(site, a, b)?;
    let both: Vec<char> = a.labels.iter().copied().filter(|label| b.labels.contains(label)).collect();
    let (batch, inner): (Vec<char>, Vec<char>) = both.iter().copied().partition(|label| needed(label));
    let own = |term: &Term| term.labels.iter().copied().filter(|l| !both.contains(l)).collect::<Vec<_>>();
    let (left, right) = (own(&a), own(&b));
    let turned = |term: &Term, order: [&[char]; 3]| -> Result<(Tensor, Vec<usize>), OpError> {
        let axes: Vec<usize> = order.concat().iter().map(|label| position(&term.labels, *label)).collect();
        let turned = term.tensor.permute(axes)?.contiguous()?;
        let count =
            |labels: &[char]| labels.iter().map(|l| term.tensor.dims()[position(&term.labels, *l)]).product();
        let sizes: Vec<usize> = order.iter().map(|labels| count(labels)).collect();
        Ok((turned.reshape(sizes.as_slice())?, sizes))
    };
    let (rows, row_sizes) = turned(&a, [&batch, &left, &inner])?;
    let (columns, column_sizes) = turned(&b, [&batch, &inner, &right])?;
    let size = |label: &char| match a.labels.contains(label) {
        true => a.tensor.dims()[position(&a.labels, *label)],
        false => b.tensor.dims()[position(&b.labels, *label)],
    };
    let labels = [batch, left, right].concat();
    let shape: Vec<usize> = labels.iter().map(size).collect();
    let nothing = row_sizes.contains(&0) || column_sizes.contains(&0);
    let tensor = match nothing {
        true => Tensor::zeros(shape.as_slice(), rows.dtype(), rows.device())?,
        false if rows.dtype().is_float() => rows.matmul(&columns)?.reshape(shape.as_slice())?,
        // Integers have no matrix product: float64 is exact up to 2^53.
        false => {
            let made = rows.to_dtype(DType::F64)?.matmul(&columns.to_dtype(DType::F64)?)?;
            made.reshape(shape.as_slice())?.to_dtype(rows.dtype())?
        }
    };
    Ok(Term { labels, tensor })
}

/// Both terms with equal sizes along their common indices: one of them may be 1.
fn together(site: &Site, a: Term, b: Term) -> Result<(Term, Term), OpError> {
    let fit = |term: &Term, other: &Term| -> Result<Vec<usize>, OpError> {
        let size = |(label, size): (&char, &usize)| match other.labels.contains(label) {
            true => {
                let theirs = other.tensor.dims()[position(&other.labels, *label)];
                match (*size, theirs) {
                    (1, theirs) => Ok(theirs),
                    (size, theirs) if theirs == 1 || theirs == size => Ok(size),
                    (size, theirs) => Err(site.refuse(format!("an index has sizes {size} and {theirs}"))),
                }
            }
            false => Ok(*size),
        };
        term.labels.iter().zip(term.tensor.dims()).map(size).collect()
    };
    let (a_shape, b_shape) = (fit(&a, &b)?, fit(&b, &a)?);
    let (a_tensor, b_tensor) = (broadcast_to(&a.tensor, &a_shape)?, broadcast_to(&b.tensor, &b_shape)?);
    Ok((Term { tensor: a_tensor, ..a }, Term { tensor: b_tensor, ..b }))
}

/// The labels in order, each once.
fn distinct(labels: &[char]) -> Vec<char> {
    let mut once: Vec<char> = Vec::new();
    for label in labels {
        if !once.contains(label) {
            once.push(*label);
        }
    }
    once
}

/// The diagonal of indices that are repeated within a term.
fn without_repeats(term: Term) -> Result<Term, OpError> {
    let once = distinct(&term.labels);
    if once.len() == term.labels.len() {
        return Ok(term);
    }
    let plan = diagonal(&term.labels, &once, term.tensor.dims());
    Ok(Term { tensor: pick(&term.tensor, &plan, 0.0)?, labels: once })
}

/// Where the elements with equal indices lie.
fn diagonal(labels: &[char], once: &[char], shape: &[usize]) -> Plan {
    let steps = strides(shape);
    let mut sources = vec![0u32];
    let mut made = Vec::new();
    for label in once {
        let axes = (0..labels.len()).filter(|axis| labels[*axis] == *label);
        let (mut step, mut size) = (0, usize::MAX);
        for axis in axes {
            step += steps[axis];
            size = size.min(shape[axis]);
        }
        made.push(size);
        sources = sources.iter().flat_map(|s| (0..size).map(move |i| s + (i * step) as u32)).collect();
    }
    Plan { shape: made, sources }
}
