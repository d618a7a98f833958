//! What the service answers.

use crate::service::{Home, Service, Toy, fixed};
use reqwest::{StatusCode, header};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn raw_text_one_or_many() {
    let (service, _folder) = fixed(Toy::default(), |_| {}).await;
    let one = service.predict("good film").await;
    assert_eq!((&one["label"], &one["version"]), (&json!("positive"), &json!("1")));
    // Two words of four tokens, sentiment 8 / 4 = 2: logits -2 and 2.
    let expected = 1.0 / (1.0 + (-4.0f64).exp());
    assert!((one["probabilities"]["positive"].as_f64().unwrap() - expected).abs() < 1e-6, "{one}");
    assert_eq!(one["prediction_id"].as_str().unwrap().len(), 36);

    for body in [json!({"texts": ["good film", "bad film"]}), json!({"inputs": ["good film", "bad film"]})] {
        let (status, many) = service.post("/v1/models/toy:predict", &body).await;
        assert_eq!(status, StatusCode::OK);
        let labels: Vec<&Value> =
            many["predictions"].as_array().unwrap().iter().map(|it| &it["label"]).collect();
        assert_eq!(labels, ["positive", "negative"]);
    }
    let (_, same) = service.post("/v1/models/toy:predict", &json!({"inputs": "good film"})).await;
    assert_eq!(same["probabilities"], one["probabilities"]);
    service.stop().await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_never_depends_on_its_neighbours() {
    let (service, _folder) = fixed(Toy { work: 2, ..Toy::default() }, |_| {}).await;
    let alone = service.predict("the good plot").await;
    let long = "bad slow film ".repeat(30);
    let texts: Vec<&str> =
        (0..60).map(|place| if place % 7 == 3 { "the good plot" } else { long.as_str() }).collect();
    let (_, many) = service.post("/v1/models/toy:predict", &json!({ "texts": texts })).await;
    let mut compared = 0;
    for (text, answer) in texts.iter().zip(many["predictions"].as_array().unwrap()) {
        if *text == "the good plot" {
            assert_eq!(answer["probabilities"], alone["probabilities"]);
            assert_eq!(answer["truncated"], false);
            compared += 1;
        } else {
            assert_eq!(answer["truncated"], true);
        }
    }
    assert_eq!(compared, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_open_inference_protocol_in_json() {
    let (service, _folder) = fixed(Toy::default(), |_| {}).await;
    assert_eq!(
        service.get("/v2").await.1["extensions"],
        json!(["binary_tensor_data", "model_repository", "model_configuration", "statistics"])
    );
    assert_eq!(service.get("/v2/health/live").await.0, StatusCode::OK);
    assert_eq!(service.get("/v2/health/ready").await.0, StatusCode::OK);
    assert_eq!(service.get("/v2/health/startup").await.0, StatusCode::OK);
    for path in ["/v2/models/toy/ready", "/v2/models/toy/versions/1/ready", "/v2/models/toy/versions/1"] {
        assert_eq!(service.get(path).await.0, StatusCode::OK, "{path}");
    }
    let (_, metadata) = service.get("/v2/models/toy").await;
    assert_eq!((&metadata["versions"], &metadata["platform"]), (&json!(["1"]), &json!("refit_tract")));
    assert_eq!(
        metadata["outputs"][1],
        json!({"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]})
    );

    let body = json!({
        "id": "a",
        "inputs": [{"name": "text", "shape": [2, 1], "datatype": "BYTES", "data": [["good film"], ["bad film"]]}],
        "outputs": [{"name": "probabilities"}, {"name": "label"}],
    });
    for path in ["/v2/models/toy/infer", "/v2/models/toy/versions/1/infer"] {
        let (status, answer) = service.post(path, &body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!((&answer["id"], &answer["model_version"]), (&json!("a"), &json!("1")));
        let [probabilities, label] = answer["outputs"].as_array().unwrap().as_slice() else {
            panic!("{answer}")
        };
        assert_eq!((&label["data"], &label["shape"]), (&json!(["positive", "negative"]), &json!([2])));
        assert_eq!((&probabilities["datatype"], &probabilities["shape"]), (&json!("FP32"), &json!([2, 2])));
        assert_eq!(probabilities["parameters"]["labels"], r#"["negative","positive"]"#);
        let alone = service.predict("bad film").await;
        assert_eq!(probabilities["data"][2], alone["probabilities"]["negative"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_open_inference_protocol_in_binary() {
    let (service, _folder) = fixed(Toy::default(), |_| {}).await;
    let texts: Vec<u8> = ["good film", "bad film"]
        .iter()
        .flat_map(|text| [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat())
        .collect();
    let head = json!({
        "inputs": [{"name": "text", "shape": [2], "datatype": "BYTES",
                    "parameters": {"binary_data_size": texts.len()}}],
        "outputs": [{"name": "label", "parameters": {"binary_data": true}},
                    {"name": "probabilities", "parameters": {"binary_data": true}}, {"name": "prediction_id"}],
    })
    .to_string();
    let response = service
        .client
        .post(format!("{}/v2/models/toy/infer", service.url))
        .header("Inference-Header-Content-Length", head.len())
        .body([head.as_bytes(), &texts].concat())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/octet-stream");
    let length: usize =
        response.headers()["inference-header-content-length"].to_str().unwrap().parse().unwrap();
    let bytes = response.bytes().await.unwrap();
    let (head, tail) = bytes.split_at(length);
    let head: Value = serde_json::from_slice(head).unwrap();
    let labels = [&8u32.to_le_bytes()[..], b"positive", &8u32.to_le_bytes()[..], b"negative"].concat();
    assert_eq!(head["outputs"][0]["parameters"]["binary_data_size"], labels.len());
    assert_eq!(&tail[..labels.len()], labels);
    assert_eq!(head["outputs"][1]["parameters"]["binary_data_size"], 16);
    let values: Vec<f32> =
        tail[labels.len()..].chunks(4).map(|chunk| f32::from_le_bytes(chunk.try_into().unwrap())).collect();
    assert_eq!(values.len(), 4);
    assert!((values[0] + values[1] - 1.0).abs() < 1e-6 && values[1] > 0.9 && values[2] > 0.9, "{values:?}");
    assert_eq!(head["outputs"][2]["data"].as_array().unwrap().len(), 2);
}

/// The caller's own tokens give the logits of the text, whatever padding stands behind them.
#[tokio::test(flavor = "multi_thread")]
async fn the_open_inference_protocol_with_tokens() {
    let home = Home::new().await;
    home.register(&Toy::default()).await;
    home.promote("1").await;
    let service = Service::start(home.config()).await;
    service.until_ready().await;
    let infer = async |inputs: Value, outputs: Value| {
        service.post("/v2/models/toy/infer", &json!({ "inputs": inputs, "outputs": outputs })).await
    };
    let tensor =
        |name: &str, data: Value| json!({"name": name, "shape": [2, 6], "datatype": "INT64", "data": data});
    // "[CLS] good film [SEP]" and "[CLS] the bad film [SEP]", padded.
    let ids = tensor("input_ids", json!([[2, 5, 6, 3, 0, 0], [2, 4, 7, 6, 3, 0]]));
    let mask = tensor("attention_mask", json!([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0]]));
    let texts =
        json!([{"name": "text", "shape": [2], "datatype": "BYTES", "data": ["good film", "the bad film"]}]);
    let wanted = json!([{"name": "logits"}, {"name": "embedding"}]);
    let (status, of_texts) = infer(texts, wanted.clone()).await;
    assert_eq!(status, StatusCode::OK, "{of_texts}");
    let (status, of_tokens) = infer(json!([ids, mask]), wanted).await;
    assert_eq!(status, StatusCode::OK, "{of_tokens}");
    assert_eq!(of_tokens["outputs"], of_texts["outputs"]);
    assert_eq!(of_tokens["outputs"][0]["shape"], json!([2, 2]));
    assert_eq!(of_tokens["outputs"][1]["shape"], json!([2, 256]));
    // 8 over four tokens.
    assert_eq!(of_tokens["outputs"][0]["data"][1], 2.0);
    let (_, usual) = infer(json!([ids, mask]), json!([])).await;
    let names: Vec<&Value> = usual["outputs"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["logits", "model_version"]);

    let large = tensor("input_ids", json!([[2, 5, 600, 3, 0, 0], [2, 4, 7, 6, 3, 0]]));
    let hole = tensor("attention_mask", json!([[1, 0, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0]]));
    let short = json!({"name": "attention_mask", "shape": [2], "datatype": "INT64", "data": [1, 1]});
    let text = json!({"name": "text", "shape": [1], "datatype": "BYTES", "data": ["good"]});
    for (inputs, outputs, says) in [
        (json!([large, mask]), json!([]), "text 0 cannot be read: the token id 600 is none of the 13"),
        (json!([ids, hole]), json!([]), "ones for the tokens, then zeros"),
        (json!([ids, short]), json!([]), "\"attention_mask\" has the shape [2]"),
        (json!([ids, text]), json!([]), "send either \"text\" or \"input_ids\""),
        (json!([mask]), json!([]), "the input \"input_ids\" is missing"),
        (json!([ids, ids]), json!([]), "was sent twice"),
        (json!([ids, mask]), json!([{"name": "prediction_id"}]), "no output \"prediction_id\" for tokens"),
    ] {
        let (status, refused) = infer(inputs, outputs).await;
        let error = refused["error"].as_str().unwrap();
        assert!(status == StatusCode::UNPROCESSABLE_ENTITY && error.contains(says), "{status} {error}");
    }
    service.stop().await.unwrap().unwrap();
    // Without a text there is nothing to give feedback on: only the two texts were recorded.
    assert_eq!(home.store.count_predictions("toy", jiff::Timestamp::UNIX_EPOCH).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_serves_is_told_with_its_reason() {
    let (service, _folder) = fixed(Toy { version: "7", ..Toy::default() }, |_| {}).await;
    let (_, list) = service.get("/v1/models").await;
    let champion = &list["models"][0]["champion"];
    assert_eq!((&champion["version"], &champion["engine"]), (&json!("7"), &json!("tract")));
    assert_eq!(champion["labels"], json!(["negative", "positive"]));
    assert!(champion["since"].as_str().unwrap().starts_with("20"));
    assert_eq!(service.get("/v1/models/toy").await.1["champion"]["version"], "7");
    let info = r#"refit_engine_info{device="cpu",engine="tract",model="toy",precision="float32",reason="measured",version="7"}"#;
    assert_eq!(service.metric(info).await, Some(1.0));
    service.predict("good film").await;
    let phases = ["queue", "tokenize", "compute", "total"];
    for phase in phases {
        let count =
            format!(r#"refit_request_duration_seconds_count{{model="toy",phase="{phase}",version="7"}}"#);
        assert_eq!(service.metric(&count).await, Some(1.0), "{phase}");
    }
    assert_eq!(service.metric(r#"refit_requests_total{code="200",model="toy"}"#).await, Some(1.0));
}

/// The description names every route, with its methods and no other.
#[tokio::test(flavor = "multi_thread")]
async fn the_openapi_description_is_true() {
    let (service, _folder) = fixed(Toy::default(), |_| {}).await;
    let (_, description) = service.get("/openapi.json").await;
    assert_eq!(description["openapi"], "3.1.0");
    let paths = description["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 41);
    for (path, operations) in paths {
        let url = path.replace("{name}", "toy").replace("{version}", "1").replace("{region}", "r");
        for method in ["get", "post"] {
            let request = match method {
                "get" => service.client.get(format!("{}{url}", service.url)),
                _ => service.client.post(format!("{}{url}", service.url)).json(&json!({})),
            };
            let status = request.send().await.unwrap().status();
            let described = operations.get(method);
            assert_eq!(
                status != StatusCode::METHOD_NOT_ALLOWED,
                described.is_some(),
                "{method} {path}: {status}"
            );
            if let Some(operation) = described {
                assert!(
                    operation["responses"].get(status.as_str()).is_some(),
                    "{method} {path} answers {status}"
                );
            }
        }
    }
}
