# Makes one HTML text of page.html, page.css and the scripts, and of that a C++ source.
# cmake -DFOLDER=… -DOUT=… -P embed.cmake
file(READ "${FOLDER}/page.html" page)
file(READ "${FOLDER}/page.css" css)
file(READ "${FOLDER}/model.js" model)
file(READ "${FOLDER}/plot.js" plot)
file(READ "${FOLDER}/page.js" js)
string(REPLACE "@CSS@" "${css}" page "${page}")
string(REPLACE "@JS@" "${model}${plot}${js}" page "${page}")
# In pieces: compilers bound the length of a literal.
string(LENGTH "${page}" length)
set(text "")
set(at 0)
while(at LESS length)
  string(SUBSTRING "${page}" ${at} 8000 piece)
  string(APPEND text "R\"~~(${piece})~~\"\n")
  math(EXPR at "${at} + 8000")
endwhile()
file(WRITE "${OUT}" "#include \"apps/xstd/web.h\"\n\nconst char* const xstd::kLivePage =\n${text};\n")
