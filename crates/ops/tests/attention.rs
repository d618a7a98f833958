//! Attention over more queries than are computed together, against its definition in double precision: the
//! forward element by element, the reverse rules along random directions.

use refit_ops::kernels::attention::{Inputs, Mask, Sizes, backward, backward_with_bias, forward};

const SIZES: Sizes = Sizes { batch: 2, heads: 2, queries: 300, keys: 170, width: 8, scale: 0.4 };

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 31 + seed * 17 + 1) as f32 * 0.7).sin()).collect()
}

/// The definition; every tensor in double precision.
fn defined(q: &[f64], k: &[f64], v: &[f64], mask: &[f64], bias: &[f64]) -> Vec<f64> {
    let Sizes { batch, heads, queries, keys, width, scale } = SIZES;
    let hidden = heads * width;
    let mut output = vec![0.0; batch * queries * hidden];
    for (example, head, query) in
        (0..batch).flat_map(|b| (0..heads).flat_map(move |h| (0..queries).map(move |q| (b, h, q))))
    {
        let at = |row: usize, rows: usize| (example * rows + row) * hidden + head * width;
        let score = |key: usize| {
            let products = (0..width).map(|i| q[at(query, queries) + i] * k[at(key, keys) + i]);
            let added = mask[example * keys + key] + bias[(head * queries + query) * keys + key];
            products.sum::<f64>() * f64::from(scale) + added
        };
        let exp: Vec<f64> = (0..keys).map(|key| score(key).exp()).collect();
        let sum: f64 = exp.iter().sum();
        for (key, weight) in exp.iter().enumerate() {
            for i in 0..width {
                output[at(query, queries) + i] += weight / sum * v[at(key, keys) + i];
            }
        }
    }
    output
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn more_queries_than_one_block_agree_with_the_definition() {
    let Sizes { batch, heads, queries, keys, width, .. } = SIZES;
    let (rows, columns) = (batch * queries * heads * width, batch * keys * heads * width);
    let tensors =
        [numbers(rows, 1), numbers(columns, 2), numbers(columns, 3), numbers(heads * queries * keys, 4)];
    let mask: Vec<f32> = (0..batch * keys).map(|i| if i % 7 == 3 { -1e4 } else { 0.0 }).collect();
    let [query, key, value, bias] = &tensors;
    let inputs = Inputs {
        query,
        key,
        value,
        mask: Some(Mask { data: &mask, strides: [keys, 0, 0] }),
        bias: Some(bias),
    };
    let run = |t: [&[f64]; 4]| defined(t[0], t[1], t[2], &wide(&mask), t[3]);
    let at: Vec<Vec<f64>> = tensors.iter().map(|t| wide(t)).collect();
    let expected = run([&at[0], &at[1], &at[2], &at[3]]);
    let found = wide(&forward(inputs, SIZES));
    assert!(expected.iter().zip(&found).all(|(e, f)| (e - f).abs() < 1e-4));

    let gradient = numbers(rows, 5);
    let (made, made_bias) = backward_with_bias(inputs, &gradient, SIZES);
    let made = [made.query, made.key, made.value, made_bias].map(|made| wide(&made));
    for index in 0..4 {
        let direction = wide(&numbers(at[index].len(), 6 + index));
        let moved = |step: f64| {
            let mut t = at.clone();
            t[index].iter_mut().zip(&direction).for_each(|(x, d)| *x += step * d);
            dot(&run([&t[0], &t[1], &t[2], &t[3]]), &wide(&gradient))
        };
        let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
        let size = dot(&made[index], &made[index]).sqrt() * dot(&direction, &direction).sqrt();
        let off = (dot(&made[index], &direction) - expected).abs() / size;
        assert!(off < 1e-4, "the gradient of input {index} is off by {off}");
    }
}

#[test]
fn without_queries_keys_and_values_have_gradient_zero() {
    let sizes = Sizes { queries: 0, ..SIZES };
    let key = numbers(sizes.batch * sizes.keys * sizes.heads * sizes.width, 1);
    let inputs = Inputs { query: &[], key: &key, value: &key, mask: None, bias: None };
    let made = backward(inputs, &[], sizes);
    assert!(made.query.is_empty() && made.key.iter().chain(&made.value).all(|x| *x == 0.0));
}
