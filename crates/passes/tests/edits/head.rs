use super::*;
use refit_graph::{HostTensor, OpName, Patch};

fn weight(model: &Model, name: &str) -> Vec<f32> {
    let id = model.graph.find(name).unwrap();
    model.graph.initializer(id).unwrap().tensor.to_f32().unwrap()
}

#[test]
fn logits_follow_from_the_pooled_vector() {
    let model = classifier();
    assert_eq!(outputs(&model), ["logits", "embedding"]);
    let inputs = inputs(&ROWS);
    let (logits, embedding) = (run(&model, &inputs, "logits"), run(&model, &inputs, "embedding"));
    assert_eq!((logits.dims(), embedding.dims()), (&[3, 3][..], &[3, 32][..]));
    let matrix = Tensor::from_vec(weight(&model, "classifier.weight"), (3, 32), &Device::Cpu).unwrap();
    let expected = embedding.matmul(&matrix.t().unwrap()).unwrap();
    assert!(max_difference(&logits, &expected) < 1e-5);
    assert_eq!(weight(&model, "classifier.bias"), [0.0; 3]);
}

#[test]
fn the_mean_is_over_tokens_and_not_over_padding() {
    let inputs = inputs(&ROWS);
    let hidden = run(&encoder(), &inputs, "last_hidden_state");
    let embedding = run(&classifier(), &inputs, "embedding");
    for (index, row) in ROWS.iter().enumerate() {
        let expected = hidden.get(index).unwrap().narrow(0, 0, row.len()).unwrap().mean(0).unwrap();
        assert!(max_difference(&embedding.get(index).unwrap(), &expected) < 1e-5, "row {index}");
    }
}

#[test]
fn cls_takes_the_first_token() {
    let inputs = inputs(&ROWS);
    let hidden = run(&encoder(), &inputs, "last_hidden_state");
    let mut model = encoder();
    edit(&mut model, &ReplaceHead { pool: Pool::Cls, ..head(2) }).unwrap();
    let first = hidden.narrow(1, 0, 1).unwrap().squeeze(1).unwrap();
    assert_eq!(max_difference(&run(&model, &inputs, "embedding"), &first), 0.0);
}

#[test]
fn a_seed_gives_its_head_again() {
    let with_seed = |seed| {
        let mut model = encoder();
        edit(&mut model, &ReplaceHead { seed, ..head(3) }).unwrap();
        weight(&model, "classifier.weight")
    };
    assert_eq!(with_seed(7), with_seed(7));
    assert_ne!(with_seed(7), with_seed(8));
}

#[test]
fn a_new_label_keeps_what_the_others_had_learnt() {
    let mut model = classifier();
    let bias = model.graph.find("classifier.bias").unwrap();
    model.graph.set_initializer(bias, HostTensor::from_f32(&[3], &[0.1, 0.2, 0.3])).unwrap();
    let (inputs, before) = (inputs(&ROWS), run(&model, &inputs(&ROWS), "logits"));

    edit(&mut model, &ReplaceHead { carried: vec![Some(2), None, Some(0)], ..head(4) }).unwrap();
    assert_eq!(outputs(&model), ["logits", "embedding"]);
    let after = run(&model, &inputs, "logits");
    let column = |tensor: &Tensor, index| tensor.narrow(1, index, 1).unwrap();
    assert!(max_difference(&column(&after, 0), &column(&before, 2)) < 1e-6);
    assert!(max_difference(&column(&after, 2), &column(&before, 0)) < 1e-6);
    assert_eq!(weight(&model, "classifier.bias"), [0.3, 0.0, 0.1, 0.0]);
}

#[test]
fn rows_of_a_head_in_the_other_layout_are_carried_over_too() {
    let mut model = classifier();
    let kept = weight(&model, "classifier.weight");
    let old = model.graph.find("classifier.weight").unwrap();
    let flipped: Vec<f32> = (0..96).map(|index| kept[index % 3 * 32 + index / 3]).collect();
    let [logits, embedding] = ["logits", "embedding"].map(|name| model.graph.find(name).unwrap());
    let mut patch = Patch::new(&model.graph);
    let new = patch.initializer("flipped", HostTensor::from_f32(&[32, 3], &flipped), true);
    let bias = model.graph.find("classifier.bias").unwrap();
    let linear = patch.node(OpName::refit("Linear"), "flipped", &[embedding, new, bias], []);
    patch.replace(logits, linear);
    patch.rename(new, "classifier.weight");
    patch.apply(&mut model.graph).unwrap();
    assert_ne!(old, new);

    edit(&mut model, &ReplaceHead { carried: vec![Some(1)], ..head(2) }).unwrap();
    assert_eq!(weight(&model, "classifier.weight")[..32], kept[32..64]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let model = classifier();
    for (edit, reason) in [
        (ReplaceHead { at: "nothing".to_owned(), ..head(3) }, "no value \"nothing\""),
        (ReplaceHead { at: "logits".to_owned(), ..head(3) }, "[batch, sequence, hidden]"),
        (ReplaceHead { labels: 0, ..head(3) }, "one output"),
        (ReplaceHead { dropout: 1.0, ..head(3) }, "not in [0, 1)"),
        (ReplaceHead { carried: vec![Some(3)], ..head(3) }, "has 3 rows"),
        (ReplaceHead { carried: vec![None; 4], ..head(3) }, "4 rows"),
    ] {
        let message = refusal(&model, &edit);
        assert!(message.contains("replace-head") && message.contains(reason), "{reason:?}: {message}");
    }
    let message = refusal(&encoder(), &ReplaceHead { carried: vec![Some(0)], ..head(3) });
    assert!(message.contains("no head whose rows"), "{message}");
}
