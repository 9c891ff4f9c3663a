-- The standing order: keep the embeddings of demo_docs.
select ai.create_vectorizer(
    'demo_docs',
    name => 'demo_docs',
    loading => ai.loading_column('body'),
    formatting => ai.formatting_python_template('$name: $chunk'),
    embedding => ai.embedding_local(),
    chunking => ai.chunking_recursive_character_text_splitter(800, 100)
);
