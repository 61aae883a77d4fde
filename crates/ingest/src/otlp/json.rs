//! OTLP/JSON: protobuf's JSON mapping, with trace and span ids in hexadecimal.
//!
//! 64-bit numbers come as numbers or texts, enumerations as numbers or names, keys in camel or snake case; unknown keys
//! are skipped. Elements cannot be counted while serde builds them, so they are bounded before: every one of them
//! needs a `{`.

use std::fmt;
use std::marker::PhantomData;

use memchr::memchr_iter;
use model::{Error, Result};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, Visitor};

use super::value::{unbase64, unhex};
use super::{
    Attributes, Data, ExemplarPoint, ExponentialBuckets, ExponentialPoint, HistogramPoint, Metric,
    NumberPoint, Point, Request, ResourceMetrics, ScopeMetrics, SummaryPoint, Temporality, Value,
    too_many,
};

pub(super) fn decode(body: &[u8], elements_max: usize) -> Result<Request> {
    let objects = memchr_iter(b'{', body).count();
    if objects > elements_max.saturating_mul(2) {
        return Err(too_many(elements_max));
    }
    // serde_json refuses more than 128 levels by itself.
    let raw: RawRequest = serde_json::from_slice(body)
        .map_err(|e| Error::invalid(format!("body is not an OTLP/JSON metrics request: {e}")))?;
    let resource = |raw: RawResourceMetrics| ResourceMetrics {
        attributes: attributes(raw.resource.0.attributes),
        scopes: raw.scope_metrics.0.into_iter().map(scope).collect(),
    };
    Ok(Request { resources: raw.resource_metrics.0.into_iter().map(resource).collect() })
}

fn scope(raw: RawScopeMetrics) -> ScopeMetrics {
    let scope = raw.scope.0;
    ScopeMetrics {
        name: scope.name.0,
        version: scope.version.0,
        attributes: attributes(scope.attributes),
        schema_url: raw.schema_url.0,
        metrics: raw.metrics.0.into_iter().map(metric).collect(),
    }
}

fn metric(raw: RawMetric) -> Metric {
    fn points<T, U>(raw: Or<Vec<T>>, convert: impl Fn(T) -> U) -> Vec<U> {
        raw.0.into_iter().map(convert).collect()
    }
    let data = if let Some(gauge) = raw.gauge {
        Data::Gauge(points(gauge.data_points, number))
    } else if let Some(sum) = raw.sum {
        Data::Sum {
            temporality: sum.aggregation_temporality.0.0,
            monotonic: sum.is_monotonic.0,
            points: points(sum.data_points, number),
        }
    } else if let Some(histogram) = raw.histogram {
        Data::Histogram {
            temporality: histogram.aggregation_temporality.0.0,
            points: points(histogram.data_points, |raw: RawHistogram| HistogramPoint {
                point: point(raw.attributes, &raw.time_unix_nano, &raw.flags, raw.exemplars),
                count: raw.count.0.0,
                sum: raw.sum.map(|sum| sum.0),
                bucket_counts: raw.bucket_counts.0.into_iter().map(|n| n.0).collect(),
                bounds: raw.explicit_bounds.0.into_iter().map(|n| n.0).collect(),
            }),
        }
    } else if let Some(histogram) = raw.exponential_histogram {
        let buckets = |raw: Or<RawBuckets>| ExponentialBuckets {
            offset: raw.0.offset.0.0,
            counts: raw.0.bucket_counts.0.into_iter().map(|n| n.0).collect(),
        };
        Data::Exponential {
            temporality: histogram.aggregation_temporality.0.0,
            points: points(histogram.data_points, |raw: RawExponential| ExponentialPoint {
                point: point(raw.attributes, &raw.time_unix_nano, &raw.flags, raw.exemplars),
                count: raw.count.0.0,
                sum: raw.sum.map(|sum| sum.0),
                scale: raw.scale.0.0,
                zero_count: raw.zero_count.0.0,
                zero_threshold: raw.zero_threshold.0.0,
                positive: buckets(raw.positive),
                negative: buckets(raw.negative),
            }),
        }
    } else if let Some(summary) = raw.summary {
        Data::Summary(points(summary.data_points, |raw: RawSummary| SummaryPoint {
            point: point(raw.attributes, &raw.time_unix_nano, &raw.flags, Or(Vec::new())),
            count: raw.count.0.0,
            sum: raw.sum.0.0,
            quantiles: points(raw.quantile_values, |q: RawQuantile| (q.quantile.0.0, q.value.0.0)),
        }))
    } else {
        Data::Absent
    };
    Metric { name: raw.name.0, description: raw.description.0, unit: raw.unit.0, data }
}

fn number(raw: RawNumber) -> NumberPoint {
    let int = raw.as_int.map(|n| n.0 as f64);
    NumberPoint {
        value: raw.as_double.map(|n| n.0).or(int).unwrap_or(0.0),
        point: point(raw.attributes, &raw.time_unix_nano, &raw.flags, raw.exemplars),
    }
}

fn point(
    raw: Or<Vec<RawKeyValue>>,
    time_ns: &Or<Number<u64>>,
    flags: &Or<Number<u32>>,
    exemplars: Or<Vec<RawExemplar>>,
) -> Point {
    let exemplar = |raw: RawExemplar| ExemplarPoint {
        attributes: attributes(raw.filtered_attributes),
        time_ns: raw.time_unix_nano.0.0,
        value: raw.as_double.map(|n| n.0).or(raw.as_int.map(|n| n.0 as f64)).unwrap_or(0.0),
        trace_id: raw.trace_id.0.0,
        span_id: raw.span_id.0.0,
    };
    Point {
        attributes: attributes(raw),
        time_ns: time_ns.0.0,
        no_value: flags.0.0 & 1 != 0,
        exemplars: exemplars.0.into_iter().map(exemplar).collect(),
    }
}

fn attributes(raw: Or<Vec<RawKeyValue>>) -> Attributes {
    raw.0.into_iter().map(|pair| (pair.key.0, pair.value.0.into_value())).collect()
}

/// A field that may be absent or `null`, which both mean its default.
struct Or<T>(T);

impl<T: Default> Default for Or<T> {
    fn default() -> Self {
        Self(T::default())
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Or<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<T>::deserialize(deserializer).map(|value| Self(value.unwrap_or_default()))
    }
}

/// A message whose fields serde reads.
trait Fields<'de>: Sized {
    fn read<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

/// Reads a message from an object; serde alone would read its fields from a list as well.
struct Object<T>(PhantomData<T>);

impl<'de, T: Fields<'de>> Visitor<'de> for Object<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::read(MapAccessDeserializer::new(map))
    }
}

macro_rules! object {
    ($name:ident $(<$item:ident>)?) => {
        impl<'de $(, $item: DeserializeOwned)?> Fields<'de> for $name$(<$item>)? {
            fn read<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                // The one that `remote` makes.
                Self::deserialize(deserializer)
            }
        }

        impl<'de $(, $item: DeserializeOwned)?> Deserialize<'de> for $name$(<$item>)? {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_map(Object(PhantomData))
            }
        }
    };
}

macro_rules! message {
    ($name:ident { $($field:ident $(($alias:literal))? : $kind:ty,)* }) => {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default, remote = "Self")]
        struct $name { $( $(#[serde(alias = $alias)])? $field: $kind, )* }

        object!($name);
    };
}

pub(super) mod logs;
pub(super) mod traces;

message!(RawRequest { resource_metrics("resource_metrics"): Or<Vec<RawResourceMetrics>>, });
message!(RawResourceMetrics {
    resource: Or<RawResource>,
    scope_metrics("scope_metrics"): Or<Vec<RawScopeMetrics>>,
});
message!(RawResource { attributes: Or<Vec<RawKeyValue>>, });
message!(RawScopeMetrics {
    scope: Or<RawScope>,
    metrics: Or<Vec<RawMetric>>,
    schema_url("schema_url"): Or<String>,
});
message!(RawScope { name: Or<String>, version: Or<String>, attributes: Or<Vec<RawKeyValue>>, });
message!(RawMetric {
    name: Or<String>,
    description: Or<String>,
    unit: Or<String>,
    gauge: Option<RawPoints<RawNumber>>,
    sum: Option<RawPoints<RawNumber>>,
    histogram: Option<RawPoints<RawHistogram>>,
    exponential_histogram("exponential_histogram"): Option<RawPoints<RawExponential>>,
    summary: Option<RawPoints<RawSummary>>,
});

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound = "T: DeserializeOwned", remote = "Self")]
struct RawPoints<T> {
    #[serde(default = "Or::default", alias = "data_points")]
    data_points: Or<Vec<T>>,
    #[serde(default, alias = "aggregation_temporality")]
    aggregation_temporality: Or<JsonTemporality>,
    #[serde(default, alias = "is_monotonic")]
    is_monotonic: Or<bool>,
}

object!(RawPoints<T>);

message!(RawNumber {
    attributes: Or<Vec<RawKeyValue>>,
    time_unix_nano("time_unix_nano"): Or<Number<u64>>,
    as_double("as_double"): Option<Double>,
    as_int("as_int"): Option<Number<i64>>,
    exemplars: Or<Vec<RawExemplar>>,
    flags: Or<Number<u32>>,
});
message!(RawHistogram {
    attributes: Or<Vec<RawKeyValue>>,
    time_unix_nano("time_unix_nano"): Or<Number<u64>>,
    count: Or<Number<u64>>,
    sum: Option<Double>,
    bucket_counts("bucket_counts"): Or<Vec<Number<u64>>>,
    explicit_bounds("explicit_bounds"): Or<Vec<Double>>,
    exemplars: Or<Vec<RawExemplar>>,
    flags: Or<Number<u32>>,
});
message!(RawExponential {
    attributes: Or<Vec<RawKeyValue>>,
    time_unix_nano("time_unix_nano"): Or<Number<u64>>,
    count: Or<Number<u64>>,
    sum: Option<Double>,
    scale: Or<Number<i32>>,
    zero_count("zero_count"): Or<Number<u64>>,
    zero_threshold("zero_threshold"): Or<Double>,
    positive: Or<RawBuckets>,
    negative: Or<RawBuckets>,
    exemplars: Or<Vec<RawExemplar>>,
    flags: Or<Number<u32>>,
});
message!(RawBuckets {
    offset: Or<Number<i32>>,
    bucket_counts("bucket_counts"): Or<Vec<Number<u64>>>,
});
message!(RawSummary {
    attributes: Or<Vec<RawKeyValue>>,
    time_unix_nano("time_unix_nano"): Or<Number<u64>>,
    count: Or<Number<u64>>,
    sum: Or<Double>,
    quantile_values("quantile_values"): Or<Vec<RawQuantile>>,
    flags: Or<Number<u32>>,
});
message!(RawQuantile { quantile: Or<Double>, value: Or<Double>, });
message!(RawExemplar {
    filtered_attributes("filtered_attributes"): Or<Vec<RawKeyValue>>,
    time_unix_nano("time_unix_nano"): Or<Number<u64>>,
    as_double("as_double"): Option<Double>,
    as_int("as_int"): Option<Number<i64>>,
    trace_id("trace_id"): Or<Hex>,
    span_id("span_id"): Or<Hex>,
});
message!(RawKeyValue { key: Or<String>, value: Or<RawValue>, });
message!(RawValue {
    string_value("string_value"): Option<String>,
    bool_value("bool_value"): Option<bool>,
    int_value("int_value"): Option<Number<i64>>,
    double_value("double_value"): Option<Double>,
    bytes_value("bytes_value"): Option<Base64>,
    array_value("array_value"): Option<RawList>,
    kvlist_value("kvlist_value"): Option<RawMap>,
});
message!(RawList { values: Or<Vec<RawValue>>, });
message!(RawMap { values: Or<Vec<RawKeyValue>>, });

impl RawValue {
    fn into_value(self) -> Value {
        if let Some(text) = self.string_value {
            Value::Text(text)
        } else if let Some(value) = self.bool_value {
            Value::Bool(value)
        } else if let Some(value) = self.int_value {
            Value::Int(value.0)
        } else if let Some(value) = self.double_value {
            Value::Double(value.0)
        } else if let Some(value) = self.bytes_value {
            Value::Bytes(value.0)
        } else if let Some(list) = self.array_value {
            Value::List(list.values.0.into_iter().map(Self::into_value).collect())
        } else if let Some(map) = self.kvlist_value {
            Value::Map(attributes(map.values))
        } else {
            Value::Empty
        }
    }
}

/// A whole number, as a number or as a text.
#[derive(Default, Clone, Copy)]
struct Number<T>(T);

/// A number, as a number or as a text (`"NaN"`, `"Infinity"`).
#[derive(Default, Clone, Copy)]
struct Double(f64);

/// `AGGREGATION_TEMPORALITY_…` or its number.
#[derive(Default)]
struct JsonTemporality(Temporality);

/// Bytes as hexadecimal digits.
#[derive(Default)]
struct Hex(Vec<u8>);

/// Bytes as base64.
struct Base64(Vec<u8>);

struct NumberVisitor<T>(PhantomData<T>);

impl<T: TryFrom<i128>> Visitor<'_> for NumberVisitor<T> {
    type Value = Number<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number in range, or a text of one")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        whole(i128::from(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
        whole(i128::from(value))
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the value is whole and far below i128's bounds"
    )]
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
        if value.fract() != 0.0 || value.abs() > 1.9e19 {
            return Err(E::custom(format!("{value} is not a whole number in range")));
        }
        whole(value as i128)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        match text.parse::<i128>() {
            Ok(value) => whole(value),
            Err(_) => match text.parse::<f64>() {
                Ok(value) => self.visit_f64(value),
                Err(_) => Err(E::custom(format!("{text:.64?} is not a whole number"))),
            },
        }
    }
}

fn whole<T: TryFrom<i128>, E: de::Error>(value: i128) -> Result<Number<T>, E> {
    T::try_from(value).map(Number).map_err(|_| E::custom(format!("{value} is out of range")))
}

impl<'de, T: TryFrom<i128>> Deserialize<'de> for Number<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor(PhantomData))
    }
}

struct DoubleVisitor;

impl Visitor<'_> for DoubleVisitor {
    type Value = Double;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or a text of one")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Double, E> {
        Ok(Double(value as f64))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Double, E> {
        Ok(Double(value as f64))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Double, E> {
        Ok(Double(value))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Double, E> {
        text.parse().map(Double).map_err(|_| E::custom(format!("{text:.64?} is not a number")))
    }
}

impl<'de> Deserialize<'de> for Double {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DoubleVisitor)
    }
}

struct TemporalityVisitor;

impl Visitor<'_> for TemporalityVisitor {
    type Value = JsonTemporality;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an aggregation temporality")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<JsonTemporality, E> {
        let number = i32::try_from(value).unwrap_or(0);
        Ok(JsonTemporality(Temporality::from_number(number)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<JsonTemporality, E> {
        Ok(JsonTemporality(match text {
            "AGGREGATION_TEMPORALITY_DELTA" => Temporality::Delta,
            "AGGREGATION_TEMPORALITY_CUMULATIVE" => Temporality::Cumulative,
            "AGGREGATION_TEMPORALITY_UNSPECIFIED" => Temporality::Unspecified,
            other => return Err(E::custom(format!("{other:.64?} is not a temporality"))),
        }))
    }
}

impl<'de> Deserialize<'de> for JsonTemporality {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TemporalityVisitor)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        unhex(&text)
            .map(Self)
            .ok_or_else(|| de::Error::custom(format!("{text:.64?} is not hexadecimal")))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        unbase64(&text)
            .map(Self)
            .ok_or_else(|| de::Error::custom(format!("{text:.64?} is not base64")))
    }
}
