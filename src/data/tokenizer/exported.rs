use serde_json::{Value, json};

use super::Tokenizer;

impl Tokenizer {
    /// [`Tokenizer::to_hf_json`] for other programs: in documents mode it puts the start token before every text, as in
    /// training.
    pub fn to_exported_json(&self) -> String {
        let plain = self.to_hf_json();
        let Some((id, name)) = self.start_id().and_then(|id| Some((id, self.special_name(id)?))) else { return plain };
        let Ok(mut file) = serde_json::from_str::<Value>(&plain) else { return plain };
        let start = json!({ "SpecialToken": { "id": name, "type_id": 0 } });
        let text = |which: &str| json!({ "Sequence": { "id": which, "type_id": 0 } });
        let template = json!({
            "type": "TemplateProcessing",
            "single": [start, text("A")],
            "pair": [start, text("A"), text("B")],
            "special_tokens": { name.as_str(): { "id": name, "ids": [id], "tokens": [name] } },
        });
        // a post-processor that adds tokens of its own is replaced; tril has trained without them
        file["post_processor"] = match file["post_processor"].take() {
            bytes if bytes["type"] == "ByteLevel" => json!({ "type": "Sequence", "processors": [bytes, template] }),
            _ => template,
        };
        serde_json::to_string(&file).unwrap_or(plain)
    }
}
