//! One declared exchange.

use bowline_model::meta::ExchangeSpec;

#[derive(Debug)]
pub struct Exchange {
    /// As declared.
    pub spec: ExchangeSpec,
    /// Argument `alternate-exchange`: where messages go that it has no destination for.
    pub alternate: Option<String>,
    /// Predeclared: cannot be deleted.
    pub system: bool,
}
