//! `NonMaxSuppression(boxes, scores, max_per_class?, iou_threshold?, score_threshold?)`: for each image and
//! class the best boxes that do not overlap a better one. Forward only: a choice has no slope.

use crate::{Known, OpError, Operator, Site, host};
use candle_core::{Device, Tensor};
use refit_graph::{DType, Dim, Fact, OpName};

pub(crate) struct NonMaxSuppression;

impl Operator for NonMaxSuppression {
    fn name(&self) -> OpName {
        OpName::standard("NonMaxSuppression")
    }

    fn infer(&self, _site: &Site, _inputs: &Known) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::new(DType::I64, [Dim::Unknown, Dim::Known(3)])])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (boxes, scores) = (site.required(inputs, 0)?, site.required(inputs, 1)?);
        let ([images, count, 4], [batch, classes, scored]) = (boxes.dims(), scores.dims()) else {
            return Err(site.refuse(format!("boxes of {:?}, scores of {:?}", boxes.dims(), scores.dims())));
        };
        if images != batch || count != scored {
            return Err(site.refuse(format!("boxes of {:?}, scores of {:?}", boxes.dims(), scores.dims())));
        }
        let number = |index: usize| -> Result<Option<f64>, OpError> {
            let given = inputs.get(index).and_then(Option::as_ref).map(host::numbers).transpose()?;
            Ok(given.and_then(|numbers| numbers.first().copied()))
        };
        let most = number(2)?.unwrap_or(0.0).max(0.0) as usize;
        let (overlap, least) = (number(3)?.unwrap_or(0.0), number(4)?);
        let centred = site.node.int("center_point_box").unwrap_or(0) != 0;
        let corners: Vec<Corners> = host::numbers(boxes)?
            .as_chunks::<4>()
            .0
            .iter()
            .map(|numbers| if centred { Corners::around(*numbers) } else { Corners::between(*numbers) })
            .collect();
        let scores = host::numbers(scores)?;
        let mut chosen: Vec<i64> = Vec::new();
        for row in 0..images * classes {
            let (image, class) = (row / classes, row % classes);
            let (corners, scores) = (&corners[image * count..][..*count], &scores[row * count..][..*count]);
            for index in best(corners, scores, most, overlap, least) {
                chosen.extend([image as i64, class as i64, index as i64]);
            }
        }
        let rows = chosen.len() / 3;
        Ok(vec![Tensor::from_vec(chosen, (rows, 3), &Device::Cpu)?])
    }
}

/// Positions of the boxes that stay, best first.
fn best(corners: &[Corners], scores: &[f64], most: usize, overlap: f64, least: Option<f64>) -> Vec<usize> {
    let mut order: Vec<usize> =
        (0..corners.len()).filter(|index| least.is_none_or(|least| scores[*index] > least)).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let mut kept: Vec<usize> = Vec::new();
    for index in order {
        if kept.len() == most {
            break;
        }
        if kept.iter().all(|better| corners[*better].overlap(&corners[index]) <= overlap) {
            kept.push(index);
        }
    }
    kept
}

/// A box from its lowest to its highest corner.
struct Corners {
    low: [f64; 2],
    high: [f64; 2],
}

impl Corners {
    /// Two opposite corners, y first.
    fn between([y1, x1, y2, x2]: [f64; 4]) -> Self {
        Self { low: [y1.min(y2), x1.min(x2)], high: [y1.max(y2), x1.max(x2)] }
    }

    /// Centre, width and height, x first.
    fn around([x, y, width, height]: [f64; 4]) -> Self {
        let (half_width, half_height) = (width / 2.0, height / 2.0);
        Self { low: [y - half_height, x - half_width], high: [y + half_height, x + half_width] }
    }

    fn area(&self) -> f64 {
        (self.high[0] - self.low[0]) * (self.high[1] - self.low[1])
    }

    /// Intersection over union.
    fn overlap(&self, other: &Self) -> f64 {
        let side = |axis: usize| {
            (self.high[axis].min(other.high[axis]) - self.low[axis].max(other.low[axis])).max(0.0)
        };
        let shared = side(0) * side(1);
        let union = self.area() + other.area() - shared;
        if union > 0.0 { shared / union } else { 0.0 }
    }
}
