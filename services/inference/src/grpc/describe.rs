//! What is told of a model, as messages.

use refit_engine::Device;

use super::messages::inference::{
    DataType, InferStatistics, ModelConfig, ModelInput, ModelInstanceGroup, ModelOutput, ModelParameter,
    ModelStatistics, StatisticDuration, model_instance_group::Kind,
};
use crate::oip;

impl From<oip::ModelConfig> for ModelConfig {
    fn from(config: oip::ModelConfig) -> Self {
        let input = |port: oip::Port| ModelInput {
            name: port.name.to_owned(),
            data_type: DataType::from(port.datatype).into(),
            dims: port.shape,
            optional: port.optional,
        };
        let output = |port: oip::Port| ModelOutput {
            name: port.name.to_owned(),
            data_type: DataType::from(port.datatype).into(),
            dims: port.shape,
        };
        let parameter =
            |(name, value): (&'static str, String)| (name.to_owned(), ModelParameter { string_value: value });
        let kind = match config.device {
            Device::Cpu => Kind::Cpu,
            Device::Cuda => Kind::Gpu,
        };
        Self {
            platform: config.platform,
            max_batch_size: 0,
            input: config.inputs.into_iter().map(input).collect(),
            output: config.outputs.into_iter().map(output).collect(),
            instance_group: vec![ModelInstanceGroup {
                name: config.name.clone(),
                count: i32::try_from(config.instances).unwrap_or(i32::MAX),
                kind: kind.into(),
            }],
            parameters: config.parameters.into_iter().map(parameter).collect(),
            backend: config.backend,
            name: config.name,
        }
    }
}

impl From<oip::DataType> for DataType {
    fn from(datatype: oip::DataType) -> Self {
        match datatype {
            oip::DataType::Bytes => Self::TypeString,
            oip::DataType::Int64 => Self::TypeInt64,
            oip::DataType::Fp32 => Self::TypeFp32,
        }
    }
}

impl From<oip::VersionStatistics> for ModelStatistics {
    fn from(statistics: oip::VersionStatistics) -> Self {
        let duration = |it: oip::Duration| Some(StatisticDuration { count: it.count, ns: it.ns });
        Self {
            name: statistics.name,
            version: statistics.version,
            last_inference: 0,
            inference_count: statistics.success.count,
            execution_count: statistics.compute.count,
            inference_stats: Some(InferStatistics {
                success: duration(statistics.success),
                fail: duration(statistics.fail),
                queue: duration(statistics.queue),
                compute_input: duration(statistics.tokenize),
                compute_infer: duration(statistics.compute),
                compute_output: None,
                cache_hit: None,
                cache_miss: None,
            }),
        }
    }
}
