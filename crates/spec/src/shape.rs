//! How JSON becomes the structures of [`crate::config`]: what may be left out, be `null`, or be of another type.
//!
//! serde's derived code does the work but for two things. A structure is made of a JSON object alone, where derived
//! code would take an array of the fields' values too, and so `[]` for a structure whose every field is optional. And
//! a name is a string alone, for which derived code has no word if it is none.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Reads `null` as the type's default, as Go's decoder does.
pub(crate) fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// Reads a path that, when empty, is not given: Go knows no difference.
pub(crate) fn path_or_none<'de, D: Deserializer<'de>>(d: D) -> Result<Option<PathBuf>, D::Error> {
    Ok(Option::<PathBuf>::deserialize(d)?.filter(|p| !p.as_os_str().is_empty()))
}

/// Whether a field need not be written.
pub(crate) fn is_default<T: Default + PartialEq>(v: &T) -> bool {
    *v == T::default()
}

/// A structure that is made of the entries of an object.
pub(crate) trait FromMap<'de>: Sized {
    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error>;
}

/// Reads a structure from an object.
pub(crate) fn from_object<'de, D: Deserializer<'de>, T: FromMap<'de>>(d: D) -> Result<T, D::Error> {
    struct Object<T>(PhantomData<T>);
    impl<'de, T: FromMap<'de>> Visitor<'de> for Object<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::from_map(map)
        }
    }
    d.deserialize_map(Object(PhantomData))
}

/// An enumeration whose values have names.
pub(crate) trait Named: Copy + 'static {
    const VALUES: &'static [Self];
    const NAMES: &'static [&'static str];
}

/// Reads a name.
pub(crate) fn from_name<'de, D: Deserializer<'de>, T: Named>(d: D) -> Result<T, D::Error> {
    struct Name<T>(PhantomData<T>);
    impl<T: Named> Visitor<'_> for Name<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            match T::NAMES.iter().position(|name| *name == text) {
                Some(i) => Ok(T::VALUES[i]),
                None => Err(E::unknown_variant(text, T::NAMES)),
            }
        }
    }
    d.deserialize_str(Name(PhantomData))
}

/// Declares structures whose every field is optional in JSON, is camelCase there, and is left out when empty.
macro_rules! object {
    ($( $(#[$m:meta])* $name:ident { $( $(#[$fm:meta])* $field:ident : $ty:ty ),* $(,)? } )*) => { $(
        $(#[$m])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", remote = "Self")]
        pub struct $name { $(
            $(#[$fm])*
            #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
            pub $field: $ty,
        )* }
        only_objects! { $name }
    )* };
}

/// Makes structures out of objects alone: those with `remote = "Self"`, by which what serde derives is a function.
macro_rules! only_objects {
    ($($name:ident)*) => { $(
        impl<'de> crate::shape::FromMap<'de> for $name {
            fn from_map<A: serde::de::MapAccess<'de>>(map: A) -> Result<$name, A::Error> {
                <$name>::deserialize(serde::de::value::MapAccessDeserializer::new(map))
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<$name, D::Error> {
                crate::shape::from_object(d)
            }
        }
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                <$name>::serialize(self, s)
            }
        }
    )* };
}

/// Declares an enumeration whose JSON names are the specification's.
macro_rules! names {
    ($( $(#[$m:meta])* $name:ident { $( $(#[$vm:meta])* $variant:ident = $text:literal ),* $(,)? } )*) => { $(
        $(#[$m])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $( $(#[$vm])* #[doc = $text] $variant ),* }
        impl $name {
            /// Every value, in the specification's order.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];
            /// The name in JSON.
            pub const fn as_str(self) -> &'static str { match self { $($name::$variant => $text),* } }
        }
        impl crate::shape::Named for $name {
            const VALUES: &'static [$name] = $name::ALL;
            const NAMES: &'static [&'static str] = &[$($text),*];
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<$name, D::Error> {
                crate::shape::from_name(d)
            }
        }
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }
    )* };
}

pub(crate) use {names, object, only_objects};
