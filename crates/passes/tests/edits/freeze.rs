use super::*;
use refit_passes::edit::{Freeze, FreezePolicy, Lora};

fn frozen(train: FreezePolicy) -> Model {
    let mut model = classifier();
    edit(&mut model, &Freeze { train }).unwrap();
    model
}

#[test]
fn the_head_alone() {
    assert_eq!(trainable(&frozen(FreezePolicy::HeadOnly)), ["classifier.weight", "classifier.bias"]);
}

#[test]
fn the_last_layer_and_the_head() {
    let model = frozen(FreezePolicy::LastLayers(1));
    let names = trainable(&model);
    assert_eq!(names.len(), 16 + 2);
    let fits = |name: &&str| name.starts_with("encoder.layer.1.") || name.starts_with("classifier.");
    assert!(names.iter().all(fits), "{names:?}");
}

#[test]
fn nothing_frozen_trains_everything_and_no_constant() {
    let mut model = frozen(FreezePolicy::HeadOnly);
    edit(&mut model, &Freeze { train: FreezePolicy::Nothing }).unwrap();
    let names = trainable(&model);
    assert_eq!(names.len(), 5 + 2 * 16 + 2);
    assert!(!names.iter().any(|name| name.starts_with("mask.") || name.starts_with("pooling.")), "{names:?}");
}

#[test]
fn frozen_parameters_get_no_gradient_and_the_others_all_do() {
    let model = frozen(FreezePolicy::LastLayers(1));
    let program = Program::compile(&model, &["logits"], &Device::Cpu).unwrap();
    assert_eq!(program.parameters().len(), 18);
    let activations = program.forward(&inputs(&ROWS), Mode::Train { seed: 1 }).unwrap();
    let ones = activations.output("logits").unwrap().ones_like().unwrap();
    let gradients = program.backward(activations, HashMap::from([("logits".to_owned(), ones)])).unwrap();
    assert_eq!((gradients.len(), program.missing_gradients(&gradients)), (18, Vec::new()));
}

#[test]
fn what_does_not_fit_is_refused() {
    let model = classifier();
    for layers in [0, 3, usize::MAX] {
        let message = refusal(&model, &Freeze { train: FreezePolicy::LastLayers(layers) });
        assert!(message.contains("choose from 1 to 2"), "{message}");
    }
    let message = refusal(&encoder(), &Freeze { train: FreezePolicy::HeadOnly });
    assert!(message.contains("nothing would train"), "{message}");
}

#[test]
fn adapters_train_beside_a_frozen_base() {
    let mut model = classifier();
    edit(&mut model, &Lora { rank: 2, alpha: 4.0, targets: Vec::new(), dropout: 0.0, seed: 1 }).unwrap();
    let names = trainable(&model);
    assert_eq!(names.len(), 2 + 2 * 2 * 2);
    assert!(names.iter().all(|name| name.contains(".lora_") || name.starts_with("classifier.")), "{names:?}");
}
