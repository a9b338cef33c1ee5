//! What a module is, told by its bytes, before it is compiled.

use wasmparser::{Parser, Payload};

/// The layer field of the header tells (component-model/design/mvp/Binary.md).
pub(super) fn is_component(bytes: &[u8]) -> bool {
    bytes.get(6..8) == Some(&[1, 0])
}

/// Whether bytes are a component that exports a handler. What is no component at all is for others to complain of.
pub(crate) fn is_handler(bytes: &[u8]) -> bool {
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
            Ok(Payload::End(_)) if depth > 0 => depth -= 1,
            Ok(Payload::ComponentExportSection(exports)) if depth == 0 => {
                if exports.into_iter().flatten().any(|e| crate::http::HANDLERS.iter().any(|h| e.name.name.starts_with(h))) {
                    return true;
                }
            }
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    false
}

/// The beginning of a module or component, up to the first thing in it that is no type and no import: a module or
/// component itself, which is quickly compiled, and lacks what the whole lacks. Imports that come later are not in it.
pub(super) fn imports(bytes: &[u8]) -> &[u8] {
    let mut end = bytes.len().min(8);
    for payload in Parser::new(0).parse_all(bytes) {
        match &payload {
            Ok(Payload::Version { .. }) => {}
            Ok(
                section @ (Payload::TypeSection(_)
                | Payload::ImportSection(_)
                | Payload::CoreTypeSection(_)
                | Payload::ComponentTypeSection(_)
                | Payload::ComponentImportSection(_)
                | Payload::ComponentAliasSection(_)
                | Payload::CustomSection(_)),
            ) => end = section.as_section().map_or(end, |(_, range)| range.end),
            _ => break,
        }
    }
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_handler_is_known_by_its_own_exports() {
        let handler = |name: &str| format!("(component (instance $i) (export \"{name}\" (instance $i)))");
        let is = |text: &str| super::is_handler(&wat::parse_str(text).unwrap());
        for name in ["wasi:http/incoming-handler@0.2.0", "wasi:http/incoming-handler@0.2.12", "wasi:http/handler@0.3.0"] {
            assert!(is(&handler(name)), "{name}");
        }
        for name in ["wasi:cli/run@0.2.0", "wasi:http/incoming-handler@1.0.0", "wasi:http/handler@0.2.0"] {
            assert!(!is(&handler(name)), "{name}");
        }
        let inner = handler("wasi:http/incoming-handler@0.2.0").replacen("component", "component $inner", 1);
        assert!(!is(&format!("(component {inner} (core module (func)))")));
        assert!(is(&format!("(component (core module (func)) {inner} (instance $i) (export \"wasi:http/handler@0.3.0\" (instance $i)))")));
        assert!(!is("(module (memory (export \"wasi:http/incoming-handler@0.2.0\") 1))"));
        assert!(!super::is_handler(b"\0asm\x0d\0\x01\0\xff"));
    }
    #[test]
    fn imports_are_all_that_comes_before_code() {
        let of = |text: &str| {
            let bytes = wat::parse_str(text).unwrap();
            let imports = super::imports(&bytes);
            wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all()).validate_all(imports).unwrap();
            (imports.len(), bytes.len())
        };
        let import = "(import \"a\" \"b\" (func (param i32))) (import \"a\" \"c\" (memory 1))";
        let (alone, _) = of(&format!("(module {import})"));
        assert_eq!(of(&format!("(module {import} (func (param i32)) (memory 1))")).0, alone);
        assert_eq!(of("(module (func))").0, of("(module (type (func)))").0);
        let import = "(import \"a:b/c@0.1.0\" (instance (export \"t\" (type (sub resource))))) (alias export 0 \"t\" (type))
            (import \"d\" (func (param \"x\" (own 1))))";
        let (alone, all) = of(&format!("(component {import})"));
        assert_eq!(alone, all);
        assert_eq!(of(&format!("(component {import} (core module (func)))")).0, alone);
        assert_eq!(super::imports(b"\0as"), b"\0as");
    }
}
