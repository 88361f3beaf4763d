//! To and from the API's quantity, which is a text.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

use super::{ParseQuantityError, Quantity};

impl TryFrom<&ApiQuantity> for Quantity {
    type Error = ParseQuantityError;

    /// As the API server decodes JSON: white space around the text is dropped.
    fn try_from(api: &ApiQuantity) -> Result<Self, Self::Error> {
        api.0.trim_matches([' ', '\t', '\r', '\n']).parse()
    }
}

impl From<&Quantity> for ApiQuantity {
    fn from(quantity: &Quantity) -> Self {
        Self(quantity.to_string())
    }
}

impl From<Quantity> for ApiQuantity {
    fn from(quantity: Quantity) -> Self {
        Self::from(&quantity)
    }
}
