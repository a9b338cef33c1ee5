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
}
