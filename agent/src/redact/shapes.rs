//! Which shapes of values are taken out.

use crate::config::Shape;

/// A set of shapes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shapes(u16);

impl Shapes {
    /// Those shapes.
    pub(crate) fn new(shapes: impl IntoIterator<Item = Shape>) -> Self {
        Self(shapes.into_iter().fold(0, |all, shape| all | 1 << shape as u16))
    }

    pub(super) const fn has(self, shape: Shape) -> bool {
        self.0 & 1 << shape as u16 != 0
    }

    /// These without `others`.
    pub(super) fn without(self, others: impl IntoIterator<Item = Shape>) -> Self {
        Self(self.0 & !Self::new(others).0)
    }

    pub(super) const fn are_none(self) -> bool {
        self.0 == 0
    }

    /// Whether there are shapes among them that are short: ids.
    pub(super) const fn have_ids(self) -> bool {
        self.has(Shape::UniqueId) || self.has(Shape::Number) || self.has(Shape::Opaque)
    }

    #[cfg(test)]
    pub(super) fn standard() -> Self {
        Self::new(crate::config::RuleSet::Standard.shapes().iter().copied())
    }

    #[cfg(test)]
    pub(super) fn strict() -> Self {
        Self::new(crate::config::RuleSet::Strict.shapes().iter().copied())
    }
}
